// How far a load is, on stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace vecino::cli {

// On a terminal a bar that is redrawn in place; elsewhere a line every ten seconds; nothing when
// quiet. Not thread-safe: the caller's lock guards it.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  // `name` stands before the bar; `total_bytes` is -1 when unknown.
  Progress(std::string name, int64_t total_bytes, bool quiet);

  // Tells where the load is; prints when it is time to. `now` is not before that of the last call.
  void Update(int64_t bytes, int64_t documents, Clock::time_point now = Clock::now());

  // Prints a line of its own, also when quiet; the bar is drawn anew below it.
  void Message(const std::string& line);

  // Removes the bar.
  void Finish();

  // The bar or the line as it would be printed after `elapsed` since the start, at most `width`
  // columns (0: no bar, just figures).
  std::string Line(std::chrono::duration<double> elapsed, int width) const;

 private:
  struct Sample {
    double seconds = 0;
    int64_t bytes = 0, documents = 0;
  };

  // Of the last seconds; nothing right after a pause, when there is nothing to go by.
  std::optional<double> PerSecond(int64_t Sample::*count) const;

  const std::string name_;
  const int64_t total_bytes_;
  const bool quiet_;
  const bool terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_print_;
  std::deque<Sample> samples_;  // of the last seconds, for a rate that follows changes
  bool drawn_ = false;          // a bar stands on the terminal's last line
};

}  // namespace vecino::cli
