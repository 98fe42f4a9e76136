#include "client/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "client/cli/format.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {
constexpr double kRateWindow = 10;  // seconds, as are the next two
constexpr double kPause = 15;
constexpr double kLeastSpan = 1;  // of a rate after a pause
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kLineEvery = std::chrono::seconds(10);
constexpr const char* kEraseLine = "\r\033[K";
}  // namespace

Progress::Progress(std::string name, int64_t total_bytes, bool quiet)
    : name_(Printable(name)),
      total_bytes_(total_bytes),
      quiet_(quiet),
      terminal_(StderrIsTerminal()),
      next_print_(start_ + (terminal_ ? Clock::duration::zero() : Clock::duration(kLineEvery))),
      samples_{Sample()} {}

void Progress::Update(int64_t bytes, int64_t documents, Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - start_).count();
  // The server was away: what was before says nothing of what is left.
  if (seconds - samples_.back().seconds > kPause) samples_.clear();
  samples_.push_back({.seconds = seconds, .bytes = bytes, .documents = documents});
  while (samples_.size() > 2 && samples_[1].seconds < seconds - kRateWindow) samples_.pop_front();
  if (quiet_ || now < next_print_) return;
  if (terminal_) {
    const std::string line = Line(now - start_, TerminalWidth(STDERR_FILENO) - 1);
    std::fprintf(stderr, "%s%s", kEraseLine, line.c_str());
    drawn_ = true;
    next_print_ = now + kRedraw;
  } else {
    std::fprintf(stderr, "%s\n", Line(now - start_, 0).c_str());
    next_print_ = now + kLineEvery;
  }
}

void Progress::Message(const std::string& line) {
  Finish();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Progress::Finish() {
  if (drawn_) std::fputs(kEraseLine, stderr);
  drawn_ = false;
  next_print_ = std::min(next_print_, Clock::now() + kRedraw);
}

std::optional<double> Progress::PerSecond(int64_t Sample::*count) const {
  const Sample& from = samples_.front();
  const Sample& to = samples_.back();
  const double seconds = to.seconds - from.seconds;
  // After a pause the answers that waited come all at once.
  if (seconds <= 0 || (from.seconds > 0 && seconds < kLeastSpan)) return std::nullopt;
  return static_cast<double>(to.*count - from.*count) / seconds;
}

std::string Progress::Line(std::chrono::duration<double> elapsed, int width) const {
  const Sample& now = samples_.back();
  const std::optional<double> rate = PerSecond(&Sample::documents);
  std::string figures = WithCommas(now.documents) + " docs";
  if (rate) figures += "  " + WithCommas(static_cast<int64_t>(*rate + 0.5)) + " docs/s";
  if (total_bytes_ <= 0)
    return CutToWidth(name_ + "  " + figures + "  " + ClockTime(elapsed),
                      width > 0 ? width : 1'000);
  const double part =
      std::min(1.0, static_cast<double>(now.bytes) / static_cast<double>(total_bytes_));
  const std::optional<double> byte_rate = PerSecond(&Sample::bytes);
  // From hardly any documents a second nothing follows.
  if (rate.value_or(0) >= 0.5 && byte_rate.value_or(0) > 0) {
    const double left = static_cast<double>(std::max<int64_t>(total_bytes_ - now.bytes, 0));
    figures += "  " + ClockTime(std::chrono::duration<double>(left / *byte_rate)) + " left";
  }
  char percent[16];
  std::snprintf(percent, sizeof(percent), "%3d%%", static_cast<int>(part * 100));
  std::string line = name_ + "  " + percent + "  " + figures;
  if (width <= 0) return line;
  constexpr int kBrackets = 4;
  constexpr int kSmallestBar = 8;
  constexpr int kLargestBar = 40;
  const int bar = std::min(width - DisplayWidth(line) - kBrackets, kLargestBar);
  if (bar < kSmallestBar) return CutToWidth(line, width);
  const int full = static_cast<int>(part * bar);
  return name_ + "  [" + std::string(full, '=') + std::string(bar - full, ' ') + "]" + percent +
         "  " + figures;
}

}  // namespace vecino::cli
