// Where a generator is: the base of its URLs, taken apart.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino {

struct GeneratorUrl {
  bool tls = false;  // https
  std::string host;  // a name, or an address without brackets
  int port = 0;
  std::string path;  // of the base, without `/` or `/v1` at its end; often empty
  std::string text;  // the base as it is told to people, such as "http://127.0.0.1:8080"

  // As it stands in the header Host.
  std::string Authority() const;
};

// `http://HOST[:PORT][/PATH]` or the same with `https`; without PORT 80 or 443. A `/v1` at the end
// is taken off, since it is added with the path of a call. INVALID_ARGUMENT saying what is wrong:
// another scheme, no host, a port that is none, a user or password (keys go elsewhere), `?` or `#`,
// white space or control characters.
absl::StatusOr<GeneratorUrl> ParseGeneratorUrl(std::string_view text);

}  // namespace vecino
