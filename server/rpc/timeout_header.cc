#include "server/rpc/timeout_header.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr size_t kShownBytes = 100;

std::optional<absl::Duration> UnitOf(char letter) {
  switch (letter) {
    case 'H':
      return absl::Hours(1);
    case 'M':
      return absl::Minutes(1);
    case 'S':
      return absl::Seconds(1);
    case 'm':
      return absl::Milliseconds(1);
    case 'u':
      return absl::Microseconds(1);
    case 'n':
      return absl::Nanoseconds(1);
    default:
      return std::nullopt;
  }
}

std::optional<absl::Duration> ReadGrpc(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  const auto unit = UnitOf(text.back());
  int64_t count = 0;
  const char* const end = text.data() + text.size() - 1;
  const auto [at, error] = std::from_chars(text.data(), end, count);
  if (!unit.has_value() || error != std::errc() || at != end || count < 0) return std::nullopt;
  return count * *unit;
}

std::optional<absl::Duration> ReadSeconds(std::string_view text) {
  if (text.ends_with('s')) text.remove_suffix(1);
  if (text.empty() || text.size() > 20 || text.front() == '.' || text.back() == '.' ||
      text.find_first_not_of("0123456789.") != text.npos) {
    return std::nullopt;
  }
  double seconds = 0;
  const auto [at, error] =
      std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
  if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
  return absl::Seconds(seconds);
}

}  // namespace

absl::StatusOr<absl::Duration> ReadTimeout(std::string_view grpc_timeout,
                                           std::string_view request_timeout) {
  if (grpc_timeout.empty() && request_timeout.empty()) return kDefaultTimeout;
  if (!grpc_timeout.empty() && !request_timeout.empty()) {
    return absl::InvalidArgumentError(
        "the headers Grpc-Timeout and X-Request-Timeout are both set; send one");
  }
  const auto read = grpc_timeout.empty() ? ReadSeconds(request_timeout) : ReadGrpc(grpc_timeout);
  if (read.has_value()) return std::min(*read, kLongestTimeout);
  if (grpc_timeout.empty()) {
    return absl::InvalidArgumentError(Concat("the header X-Request-Timeout is '",
                                             Printable(request_timeout, kShownBytes),
                                             "'; it must be seconds, such as 1.5s"));
  }
  return absl::InvalidArgumentError(
      Concat("the header Grpc-Timeout is '", Printable(grpc_timeout, kShownBytes),
             "'; it must be up to 8 digits and a unit (H, M, S, m, u or n), such as 1500m"));
}

}  // namespace vecino::rpc
