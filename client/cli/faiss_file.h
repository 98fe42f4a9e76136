// The vectors in an index file of FAISS, read without FAISS.
//
// FAISS's own reader takes a whole file into memory, believes every length in it, and brings BLAS
// and OpenMP into a program that only wants rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vecino/client.h"

namespace vecino::cli {

// Understands what keeps vectors as they were added: IndexFlat (also IP, L2), IndexHNSWFlat,
// IndexIVFFlat with its lists in the file and a quantizer that is one of these, an IndexRefineFlat
// around any index, and IndexIDMap or IndexIDMap2 around all of them. Not thread-safe.
class FaissFile {
 public:
  // INVALID_ARGUMENT when the file cannot be opened, is cut short or damaged, or holds another
  // index, naming it. Takes memory only for rows whose ids do not count up from 0: 16 bytes each.
  static Result<std::unique_ptr<FaissFile>> Open(const std::string& path);
  ~FaissFile();
  FaissFile(const FaissFile&) = delete;
  FaissFile& operator=(const FaissFile&) = delete;

  int64_t rows() const { return rows_; }
  int dimension() const { return dimension_; }
  // Rows stand in order of FAISS's ids, which differ. row: 0 to rows() − 1.
  int64_t id(int64_t row) const { return places_.empty() ? row : places_[row].id; }
  // Sets *vector. INVALID_ARGUMENT when the file cannot be read any more.
  Status Read(int64_t row, std::vector<float>* vector) const;

 private:
  friend class FaissParser;
  struct Place {
    int64_t id, offset;
  };

  FaissFile(int fd, int64_t size) : fd_(fd), size_(size) {}

  const int fd_;
  const int64_t size_;
  int64_t rows_ = 0;
  int dimension_ = 0;
  int64_t first_ = 0;          // offset of row 0 when places_ is empty
  std::vector<Place> places_;  // by id; empty: row i has id i, one after another
};

}  // namespace vecino::cli
