// The process' log: spdlog on stderr, for people or for machines.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "server/config.h"

namespace vecino {

// Makes spdlog's default logger write to stderr at config.log_level in config.log_format. Call it
// once, before threads exist.
void SetUpLogging(const Config& config);

// `text` as the inside of a JSON string: quotes, backslashes and control characters escaped, what
// is not UTF-8 replaced by U+FFFD.
std::string EscapeJson(std::string_view text);

}  // namespace vecino
