// Which documents of a segment have which words, and how often.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/fields/document_terms.h"
#include "server/fields/postings_format.h"

namespace vecino::fields {

// An inverted index: for each term, in ascending order of its bytes, the slots of the documents
// that have it with its frequency in each, in blocks of 128 that are packed to as few bits as they
// need and say the highest frequency and the shortest document among them, so that a search can
// pass over blocks that cannot matter. About 1.5 bytes a posting of prose.
//
// Invariants:
//  P1. Slots of a term ascend strictly and are below document_count(); frequencies are at least 1.
//  P2. The norm of a document is NormOf its length; every document with a posting has one that is
//  not 0. P3. What Parse lets through keeps P1 and P2, and no cursor over it reads outside of its
//  bytes.
//
// Thread safety: immutable; thread safe.
class Postings {
 public:
  // Called between pieces of work of some milliseconds; an error ends the work and is passed on.
  using Checkpoint = absl::FunctionRef<absl::Status()>;

  // rows: slot by slot, read during this call only; null for a document without text. At most 2^32
  // - 1. RESOURCE_EXHAUSTED as Merge.
  static absl::StatusOr<std::shared_ptr<const Postings>> Build(
      std::span<const DocumentTerms* const> rows);

  static constexpr uint32_t kGone = ~uint32_t{0};
  struct Input {
    const Postings* postings = nullptr;
    // Of each slot: its slot in the result, or kGone. What is not gone ascends, over all inputs in
    // their order.
    std::span<const uint32_t> new_slots;
  };
  // The postings of what is not gone, without reading texts again. documents: slots of the result.
  // RESOURCE_EXHAUSTED when all different terms together take 4 GiB; an error of `checkpoint`.
  static absl::StatusOr<std::shared_ptr<const Postings>> Merge(std::span<const Input> inputs,
                                                               uint32_t documents,
                                                               Checkpoint checkpoint);

  // Reads what data() gave. bytes: valid as long as `owner`, which is kept; not copied when they
  // begin at a multiple of 8. DATA_LOSS saying what is wrong, whatever the bytes;
  // FAILED_PRECONDITION when a newer program wrote them, or another version of the Analyzer. Reads
  // all of them.
  static absl::StatusOr<std::shared_ptr<const Postings>> Parse(std::shared_ptr<const void> owner,
                                                               std::string_view bytes,
                                                               Checkpoint checkpoint);

  // What a file keeps; begins at a multiple of 8.
  std::string_view data() const { return data_; }
  int64_t bytes() const { return static_cast<int64_t>(data_.size()); }

  uint32_t document_count() const { return header_.documents; }
  uint32_t documents_with_words() const { return header_.with_words; }
  uint64_t total_length() const { return header_.total_length; }
  uint32_t term_count() const { return header_.terms; }

  // The number of a term, if any document has it.
  std::optional<uint32_t> Find(std::string_view term) const;
  // number: 0 to term_count() - 1.
  std::string_view term(uint32_t number) const {
    const TermRecord* const record = records_ + number;
    return {names_ + record[0].name_begin, record[1].name_begin - record[0].name_begin};
  }
  uint32_t document_frequency(uint32_t number) const { return records_[number].frequency; }
  // One a slot.
  const uint8_t* norms() const { return norms_; }

 private:
  friend class PostingsCursor;
  friend class PostingsWriter;

  // Finds the sections. DATA_LOSS when their lengths are not those of `bytes`.
  static absl::StatusOr<std::shared_ptr<Postings>> Open(std::shared_ptr<const void> owner,
                                                        std::string_view bytes);
  absl::Status CheckTerms(Checkpoint checkpoint) const;
  absl::StatusOr<uint64_t> CheckTerm(uint32_t number) const;

  std::shared_ptr<const void> owner_;
  std::string_view data_;
  PostingsHeader header_;
  const uint8_t* norms_ = nullptr;
  const TermRecord* records_ = nullptr;
  const char* names_ = nullptr;
  const uint8_t* postings_ = nullptr;
};

}  // namespace vecino::fields
