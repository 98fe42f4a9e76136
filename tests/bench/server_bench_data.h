// The documents and queries of server_bench, and what the right answers are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vecino::bench {

// A version 1 .npy file of two-dimensional little-endian float32 in C order, mapped. Throws
// std::runtime_error for any other file.
class NpyFile {
 public:
  explicit NpyFile(const std::string& path);
  ~NpyFile();
  NpyFile(const NpyFile&) = delete;
  NpyFile& operator=(const NpyFile&) = delete;

  size_t rows() const { return rows_; }
  size_t columns() const { return columns_; }
  const float* row(size_t i) const { return data_ + i * columns_; }
  // A row as a message's float32_le.
  std::string Bytes(size_t i) const;

 private:
  void* map_ = nullptr;
  size_t bytes_ = 0;
  const float* data_ = nullptr;
  size_t rows_ = 0;
  size_t columns_ = 0;
};

// Documents are numbered: number n has the id "dn" and row n modulo rows of the base, so there can
// be more documents than rows.
std::string IdOf(int64_t number);
// -1 for an id that IdOf does not give.
int64_t NumberOf(std::string_view id);

// Where the true answers end: a document is right for query q when its inner product with it is at
// least kth[q] - 1e-6, so ties count.
struct Truth {
  size_t k = 0;
  std::vector<float> kth;  // one for each of the first queries
};

// From the file of the scores of each query's nearest rows of the whole base, best first.
Truth TruthFromFile(const NpyFile& scores, size_t k);
// By comparing the documents `live` with the first `count` queries here, with two threads.
Truth TruthOf(const NpyFile& base, const NpyFile& queries, size_t count,
              const std::vector<int64_t>& live, size_t k);

// Mean share of the k true answers that `found` holds, over the queries that `truth` and `found`
// have. `found` has the numbers of the documents found for each query; scores are computed here.
double Recall(const NpyFile& base, const NpyFile& queries, const Truth& truth,
              const std::vector<std::vector<int64_t>>& found);

}  // namespace vecino::bench
