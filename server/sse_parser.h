// Server-sent events (WHATWG HTML, "Interpreting an event stream"): what their `data` fields say.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace vecino {

// Takes a stream in pieces that may be cut anywhere. Lines end with LF, CR LF or CR; the `data`
// lines of an event are joined with LF; comments and other fields are passed over. Thread safety:
// none.
class SseParser {
 public:
  // Takes the data of one event, which may be empty; false: no more are wanted.
  using Event = absl::FunctionRef<bool(std::string_view data)>;
  enum class Result { kMore, kStopped, kTooLong };

  // max_event_bytes: of the lines of one event, together and each.
  explicit SseParser(size_t max_event_bytes) : max_event_bytes_(max_event_bytes) {}

  // The next bytes. kStopped: `event` returned false; kTooLong: an event is longer than it may be.
  // After either nothing may be fed any more.
  Result Feed(std::string_view bytes, Event event);
  // The stream has ended: an event whose last line is whole counts, though the empty line after it
  // is missing.
  Result End(Event event);

 private:
  bool Line(std::string_view line, Event event);

  const size_t max_event_bytes_;
  bool at_start_ = true;       // of the stream, where a byte order mark may stand
  bool after_return_ = false;  // the byte before was CR, whose LF is still to come
  std::string line_;           // the part of a line that came
  std::string data_;           // of the event so far, each line with LF behind it
};

}  // namespace vecino
