// The terminal: whether there is one, how wide it is, and what a text takes up on it.
#pragma once

#include <string>
#include <string_view>

namespace vecino::cli {

bool StdoutIsTerminal();
bool StderrIsTerminal();
bool StdinIsTerminal();

// Columns of the terminal: the environment variable COLUMNS, else what the terminal of `fd` says,
// else 80. Never below 20.
int TerminalWidth(int fd);

// `text` on one line and harmless: control characters (also the escapes that move a terminal's
// cursor) become spaces, bytes that are not UTF-8 become U+FFFD.
std::string Printable(std::string_view text);

// Columns `printable` takes, wide East Asian characters and combining marks counted as terminals
// do.
int DisplayWidth(std::string_view printable);

// `printable`, cut to at most `width` columns with `…` at the end when something was cut.
std::string CutToWidth(std::string_view printable, int width);

}  // namespace vecino::cli
