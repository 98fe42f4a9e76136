// Which addresses only this machine reaches.
#pragma once

#include <string_view>

namespace vecino::rpc {

// Whether HOST of HOST:PORT is 127.0.0.0/8, [::1] or localhost. Names are not resolved: of others
// nobody knows whom they let in.
bool IsLoopback(std::string_view address);

}  // namespace vecino::rpc
