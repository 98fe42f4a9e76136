#include "client/cli/document_digest.h"

#include <openssl/sha.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "client/cli/format.h"

namespace vecino::cli {
namespace {

std::string Canonical(const Document& document) {
  Document without = document;
  without.vector.clear();
  // Sorts the keys at every level.
  const nlohmann::json sorted = DocumentJson(without);
  std::string text =
      sorted.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
  text += '\n';
  for (const float value : document.vector) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) text.push_back(static_cast<char>(bits >> (8 * i)));
  }
  return text;
}

}  // namespace

void DocumentDigest::AddNumber(const std::array<uint8_t, 32>& bytes) {
  unsigned carry = 0;
  for (size_t i = 0; i < sum_.size(); ++i) {
    carry += unsigned{sum_[i]} + bytes[i];
    sum_[i] = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
}

void DocumentDigest::Add(const Document& document) {
  const std::string text = Canonical(document);
  std::array<uint8_t, 32> hash;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  AddNumber(hash);
  ++documents_;
}

void DocumentDigest::Add(const DocumentDigest& part) {
  AddNumber(part.sum_);
  documents_ += part.documents_;
}

std::string DocumentDigest::Hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (size_t i = sum_.size(); i-- > 0;) {
    hex.push_back(kDigits[sum_[i] >> 4]);
    hex.push_back(kDigits[sum_[i] & 15]);
  }
  return hex;
}

}  // namespace vecino::cli
