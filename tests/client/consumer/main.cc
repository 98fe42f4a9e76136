// Asks a port nobody listens on; succeeds when the library links and says UNAVAILABLE.
#include <vecino/client.h>

#include <iostream>

int main() {
  vecino::Client client({.server = "127.0.0.1:1", .max_attempts = 1});
  const vecino::Status status = client.Count("packages").status();
  std::cout << status.ToString() << '\n';
  return status.code() == vecino::Code::kUnavailable ? 0 : 1;
}
