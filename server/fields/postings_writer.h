// Makes Postings, term by term.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/fields/postings.h"

namespace vecino::fields {

// Not thread safe. Call SetNorm for each document with words, then for each term, in ascending
// order of names, BeginTerm, Add in ascending order of slots, EndTerm; then Finish, once.
class PostingsWriter {
 public:
  explicit PostingsWriter(uint32_t documents);

  void SetNorm(uint32_t slot, uint8_t norm) { norms_[slot] = norm; }
  void BeginTerm(std::string_view name) { name_ = name; }
  void Add(uint32_t slot, uint32_t frequency);
  // A term without postings leaves nothing behind.
  void EndTerm();
  absl::StatusOr<std::shared_ptr<const Postings>> Finish();

 private:
  void FlushBlock();

  std::vector<uint8_t> norms_;
  std::vector<TermRecord> records_;
  std::string names_, postings_;
  uint64_t total_length_ = 0;
  // Of the term at hand.
  std::string_view name_;
  uint32_t count_ = 0;  // flushed
  uint32_t next_ = 0;   // the last slot flushed, plus one
  std::vector<PostingsBlock> blocks_;
  std::string bits_;
  uint32_t pending_ = 0;
  uint32_t slots_[kBlockPostings], frequencies_[kBlockPostings];
};

}  // namespace vecino::fields
