#include "client/cli/table.h"

#include <unistd.h>

#include <algorithm>

#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {
constexpr int kGap = 2;
constexpr int kSmallestLastColumn = 10;
}  // namespace

void Table::AddRow(const std::vector<std::string>& cells) {
  std::vector<std::string>& row = rows_.emplace_back();
  row.reserve(columns_.size());
  for (const std::string& cell : cells) row.push_back(Printable(cell));
  row.resize(columns_.size());
}

void Table::Print(std::ostream& out, int width) const {
  if (rows_.empty()) return;
  std::vector<int> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    int widest = DisplayWidth(columns_[c].header);
    for (const auto& row : rows_) widest = std::max(widest, DisplayWidth(row[c]));
    widths.push_back(widest);
  }
  if (width > 0) {
    int before_last = 0;
    for (size_t c = 0; c + 1 < widths.size(); ++c) before_last += widths[c] + kGap;
    widths.back() = std::min(widths.back(), std::max(width - before_last, kSmallestLastColumn));
  }
  const auto print_row = [&](const auto& cell_of) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string cell = CutToWidth(cell_of(c), widths[c]);
      const std::string padding(widths[c] - DisplayWidth(cell), ' ');
      if (c > 0) line.append(kGap, ' ');
      line += columns_[c].align == Align::kRight ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  print_row([&](size_t c) { return columns_[c].header; });
  for (const auto& row : rows_) print_row([&](size_t c) { return row[c]; });
}

int TableWidth() { return StdoutIsTerminal() ? TerminalWidth(STDOUT_FILENO) : 0; }

}  // namespace vecino::cli
