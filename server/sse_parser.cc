#include "server/sse_parser.h"

namespace vecino {

SseParser::Result SseParser::Feed(std::string_view bytes, Event event) {
  while (!bytes.empty()) {
    if (after_return_) {
      after_return_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + data_.size() + part.size() > max_event_bytes_) return Result::kTooLong;
    line_.append(part);
    if (end == std::string_view::npos) break;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    const bool more = Line(line_, event);
    line_.clear();
    if (!more) return Result::kStopped;
  }
  return Result::kMore;
}

SseParser::Result SseParser::End(Event event) {
  return Line("", event) ? Result::kMore : Result::kStopped;
}

bool SseParser::Line(std::string_view line, Event event) {
  if (at_start_) {
    at_start_ = false;
    if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  }
  if (line.empty()) {
    if (data_.empty()) return true;
    data_.pop_back();
    const bool more = event(data_);
    data_.clear();
    return more;
  }
  const size_t colon = line.find(':');
  if (line.substr(0, colon) != "data") return true;
  if (colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    data_.append(value);
  }
  data_.push_back('\n');
  return true;
}

}  // namespace vecino
