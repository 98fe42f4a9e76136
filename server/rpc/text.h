// Text for messages, and joining strings where std::string_view and absl meet.
//
// Debian builds absl for C++14, where absl::string_view is a type of its own and not
// std::string_view; its functions take the former, Vecino's own interfaces the latter.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vecino::rpc {

inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

// absl::StrCat that takes both kinds.
template <class... Parts>
std::string Concat(const Parts&... parts) {
  const auto convert = []<class Part>(const Part& part) -> decltype(auto) {
    if constexpr (std::is_same_v<Part, std::string_view>) {
      return ToAbsl(part);
    } else {
      return (part);
    }
  };
  return absl::StrCat(convert(parts)...);
}

// `bytes` as UTF-8 of at most `limit` bytes: what is not UTF-8 becomes `?`, and what is cut, `...`.
std::string Printable(std::string_view bytes, size_t limit);

}  // namespace vecino::rpc
