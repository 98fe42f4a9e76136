#include "client/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cwchar>

namespace vecino::cli {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";     // U+2026

// Decodes the code point at the front of `text`; 0 length means bad UTF-8.
struct CodePoint {
  uint32_t value = 0;
  size_t length = 0;
};

CodePoint Decode(std::string_view text) {
  const uint8_t lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
  if (length == 0 || lead > 0xF4 || text.size() < length) return {};
  uint32_t value = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) return {};
    value = value << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
  }
  return {value, length};
}

int Columns(uint32_t code_point) {
  const int width = wcwidth(static_cast<wchar_t>(code_point));
  return width < 0 ? 1 : width;
}

}  // namespace

bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) == 1; }
bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }
bool StdinIsTerminal() { return isatty(STDIN_FILENO) == 1; }

int TerminalWidth(int fd) {
  constexpr int kDefault = 80;
  constexpr int kSmallest = 20;
  int width = 0;
  if (const char* columns = std::getenv("COLUMNS")) width = std::atoi(columns);
  winsize size{};
  if (width <= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) width = size.ws_col;
  return std::max(width > 0 ? width : kDefault, kSmallest);
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint code_point = Decode(text.substr(i));
    if (code_point.length == 0) {
      out.append(kReplacement);
      ++i;
      continue;
    }
    const bool control = code_point.value < 0x20 ||
                         (code_point.value >= 0x7F && code_point.value < 0xA0) ||
                         // Line separators and marks that reorder what stands around them.
                         code_point.value == 0x2028 || code_point.value == 0x2029 ||
                         (code_point.value >= 0x202A && code_point.value <= 0x202E) ||
                         (code_point.value >= 0x2066 && code_point.value <= 0x2069);
    if (control) {
      out.push_back(' ');
    } else {
      out.append(text.substr(i, code_point.length));
    }
    i += code_point.length;
  }
  return out;
}

int DisplayWidth(std::string_view printable) {
  int width = 0;
  for (size_t i = 0; i < printable.size();) {
    const CodePoint code_point = Decode(printable.substr(i));
    width += code_point.length == 0 ? 1 : Columns(code_point.value);
    i += std::max<size_t>(code_point.length, 1);
  }
  return width;
}

std::string CutToWidth(std::string_view printable, int width) {
  if (width <= 0) return {};
  int used = 0;
  size_t fits = 0;  // bytes that leave a column for the ellipsis
  for (size_t i = 0; i < printable.size();) {
    const CodePoint code_point = Decode(printable.substr(i));
    used += code_point.length == 0 ? 1 : Columns(code_point.value);
    if (used > width) return std::string(printable.substr(0, fits)).append(kEllipsis);
    i += std::max<size_t>(code_point.length, 1);
    if (used <= width - 1) fits = i;
  }
  return std::string(printable);
}

}  // namespace vecino::cli
