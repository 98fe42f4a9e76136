#include "client/cli/time_values.h"

#include <absl/strings/numbers.h>
#include <absl/time/time.h>

#include <cmath>

namespace vecino::cli {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

bool ToMicros(absl::Duration duration, std::chrono::microseconds* micros) {
  // Beyond 10,000 years; the server's own limit is lower.
  constexpr double kMost = 3.2e11;
  if (std::abs(absl::ToDoubleSeconds(duration)) > kMost) return false;
  *micros = std::chrono::microseconds(absl::ToInt64Microseconds(duration));
  return true;
}

}  // namespace

bool ParseTime(std::string_view text, std::chrono::system_clock::time_point* time,
               std::string* error) {
  absl::Time parsed;
  std::string why;
  if (absl::ParseTime(absl::RFC3339_full, View(text), &parsed, &why) &&
      parsed != absl::InfiniteFuture() && parsed != absl::InfinitePast() &&
      parsed < absl::FromUnixSeconds(int64_t{1} << 33)) {
    *time = absl::ToChronoTime(parsed);
    return true;
  }
  *error = "'" + std::string(text) +
           "' is not a time such as 2027-01-31T12:00:00Z, before the year 2242";
  return false;
}

bool ParseDuration(std::string_view text, std::chrono::microseconds* duration, std::string* error) {
  double number = 0;
  absl::Duration parsed;
  // Days are not among absl's units, since not all have 24 hours; here they do.
  const bool days = text.ends_with('d');
  if (absl::SimpleAtod(View(days ? text.substr(0, text.size() - 1) : text), &number) &&
      std::isfinite(number)) {
    parsed = days ? absl::Hours(24) * number : absl::Seconds(number);
    if (ToMicros(parsed, duration)) return true;
  } else if (absl::ParseDuration(View(text), &parsed) && ToMicros(parsed, duration)) {
    return true;
  }
  *error = "'" + std::string(text) + "' is not a time span such as 90s, 1h30m or 7d";
  return false;
}

std::string ExactTime(std::chrono::system_clock::time_point time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromChrono(time), absl::UTCTimeZone());
}

}  // namespace vecino::cli
