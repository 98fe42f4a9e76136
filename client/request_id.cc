#include "client/request_id.h"

#include <random>

namespace vecino::internal {

std::string NewRequestId() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string id = "xxxxxxxx-xxxx-4xxx-Vxxx-xxxxxxxxxxxx";
  unsigned int bits = 0;
  int left = 0;  // hexadecimal digits in `bits`
  for (char& c : id) {
    if (c != 'x' && c != 'V') continue;
    if (left == 0) {
      bits = random();
      left = 8;
    }
    const unsigned int digit = bits & 15;
    c = kDigits[c == 'V' ? 8 + digit % 4 : digit];
    bits >>= 4;
    --left;
  }
  return id;
}

}  // namespace vecino::internal
