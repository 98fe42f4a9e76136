// A table for people, on standard output.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace vecino::cli {

// Collects rows, then prints them in columns two spaces apart under a header. Not thread-safe.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string header;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell per column. Cells are made printable (see terminal.h).
  void AddRow(const std::vector<std::string>& cells);

  // Prints nothing without rows. With a `width` above 0 the last column is cut so that no line is
  // wider (it keeps at least 10 columns); 0 cuts nothing, for pipes.
  void Print(std::ostream& out, int width) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// The width a table on standard output should have: the terminal's, or 0 when it is none.
int TableWidth();

}  // namespace vecino::cli
