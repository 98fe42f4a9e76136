#include "server/generator_url.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vecino {
namespace {

absl::Status Bad(const char* why) {
  return absl::InvalidArgumentError(
      absl::StrCat(why,
                   "; it must be http://HOST:PORT or https://HOST, with a path behind it where "
                   "the API has one"));
}

bool TakeFront(std::string_view* text, std::string_view front) {
  if (!text->starts_with(front)) return false;
  text->remove_prefix(front.size());
  return true;
}

}  // namespace

std::string GeneratorUrl::Authority() const {
  const bool bracket = host.find(':') != std::string::npos;
  const std::string name = bracket ? absl::StrCat("[", host, "]") : host;
  return port == (tls ? 443 : 80) ? name : absl::StrCat(name, ":", port);
}

absl::StatusOr<GeneratorUrl> ParseGeneratorUrl(std::string_view text) {
  GeneratorUrl url;
  if (std::any_of(text.begin(), text.end(), [](char c) {
        return static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 127;
      })) {
    return Bad("holds white space, control characters or letters beyond ASCII");
  }
  if (TakeFront(&text, "https://")) {
    url.tls = true;
  } else if (!TakeFront(&text, "http://")) {
    return Bad("does not start with http:// or https://");
  }
  if (text.find_first_of("?#") != std::string_view::npos) return Bad("holds `?` or `#`");
  const size_t slash = std::min(text.find('/'), text.size());
  std::string_view authority = text.substr(0, slash), path = text.substr(slash);
  if (authority.find('@') != std::string_view::npos) {
    return Bad("holds a user or password, which belong into generator.key-file");
  }
  std::string_view port;
  if (TakeFront(&authority, "[")) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return Bad("lacks a `]` after its address");
    url.host = authority.substr(0, end);
    port = authority.substr(end + 1);
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (url.host.empty()) return Bad("names no host");
  url.port = url.tls ? 443 : 80;
  if (!port.empty() &&
      (port.front() != ':' || !absl::SimpleAtoi(std::string(port.substr(1)), &url.port) ||
       url.port < 1 || url.port > 65535)) {
    return Bad("has no port from 1 to 65535 after its host");
  }
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with("/v1")) path.remove_suffix(3);
  while (path.ends_with('/')) path.remove_suffix(1);
  url.path = path;
  url.text = absl::StrCat(url.tls ? "https://" : "http://", url.Authority(), url.path);
  return url;
}

}  // namespace vecino
