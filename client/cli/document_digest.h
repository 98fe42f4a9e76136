// A fingerprint of a set of documents, whatever their order.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "vecino/client.h"

namespace vecino::cli {

// The sum, modulo 2^256, of the SHA-256 of each document in canonical form: the JSON that `vecino
// load` reads, with sorted keys and without the vector, then a line's end and the vector's floats,
// little-endian. Versions and times are not part of it. So two collections with the same documents
// have the same digest, and parts that were read at once are added up.
//
// Not thread-safe.
class DocumentDigest {
 public:
  void Add(const Document& document);
  void Add(const DocumentDigest& part);

  int64_t documents() const { return documents_; }
  std::string Hex() const;  // 64 digits

 private:
  // `bytes`: little-endian.
  void AddNumber(const std::array<uint8_t, 32>& bytes);

  int64_t documents_ = 0;
  std::array<uint8_t, 32> sum_{};
};

}  // namespace vecino::cli
