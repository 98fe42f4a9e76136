// Times and durations as people write them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace vecino::cli {

// RFC 3339 with an offset, such as 2027-01-31T12:00:00Z or 2027-01-31T13:00:00.5+01:00. On failure
// returns false and sets *error.
bool ParseTime(std::string_view text, std::chrono::system_clock::time_point* time,
               std::string* error);

// Numbers with units, such as 90s, 1h30m, 250ms or 7d; a number alone is seconds. On failure
// returns false and sets *error.
bool ParseDuration(std::string_view text, std::chrono::microseconds* duration, std::string* error);

// UTC with microseconds, where they are not zero: what ParseTime reads back the same.
std::string ExactTime(std::chrono::system_clock::time_point time);

}  // namespace vecino::cli
