#include "server/rpc/listen_error.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// errno of listening there, 0 when it works.
int TryListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool good = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = good ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

absl::Status WhyNotListening(const std::string& address) {
  const auto fail = [&](std::string_view why) {
    return absl::FailedPreconditionError(Concat("cannot listen on ", address, ": ", why));
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return fail("is not of the form HOST:PORT");
  std::string host = address.substr(0, colon);
  const std::string port = address.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return fail(Concat("the host cannot be resolved: ", gai_strerror(error)));
  }
  int error = 0;
  for (const addrinfo* one = found; one != nullptr && error == 0; one = one->ai_next) {
    error = TryListen(*one);
  }
  freeaddrinfo(found);
  switch (error) {
    case EADDRINUSE:
      return fail(
          "the port is taken by another program, perhaps another vecinod; stop it or "
          "choose another port");
    case EACCES:
      return fail("ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another port");
    case EADDRNOTAVAIL:
      return fail("the address is not one of this machine");
    case 0:
      return fail("gRPC gave no reason and it is free now; try again");
    default:
      return fail(std::strerror(error));
  }
}

}  // namespace vecino::rpc
