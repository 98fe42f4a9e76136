#include "server/fields/postings.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "server/fields/analyzer.h"
#include "server/fields/postings_cursor.h"
#include "server/fields/postings_writer.h"

namespace vecino::fields {
namespace {

// Postings between two checkpoints, about a millisecond of work.
constexpr uint64_t kPiece = 1 << 18;

absl::Status Damaged(const std::string& what) {
  return absl::DataLossError(absl::StrCat("postings are damaged: ", what));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Postings>> Postings::Build(
    std::span<const DocumentTerms* const> rows) {
  struct Posting {
    uint32_t term, slot, frequency;
  };
  PostingsWriter writer(static_cast<uint32_t>(rows.size()));
  absl::flat_hash_map<std::string_view, uint32_t> numbers;
  std::vector<std::string_view> names;
  std::vector<Posting> postings;
  for (uint32_t slot = 0; slot < rows.size(); ++slot) {
    const DocumentTerms* const row = rows[slot];
    if (row == nullptr || row->empty()) continue;
    writer.SetNorm(slot, NormOf(row->length()));
    for (size_t i = 0; i < row->size(); ++i) {
      const auto [it, added] =
          numbers.try_emplace(row->term(i), static_cast<uint32_t>(names.size()));
      if (added) names.push_back(it->first);
      postings.push_back({it->second, slot, row->entry(i).frequency});
    }
  }
  // Terms by name; postings by term, slots in the order they came.
  std::vector<uint32_t> order(names.size()), begins(names.size() + 1);
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return names[a] < names[b]; });
  for (const Posting& posting : postings) ++begins[posting.term + 1];
  for (size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
  std::vector<uint32_t> places(begins.begin(), begins.end() - 1);
  std::vector<Posting> sorted(postings.size());
  for (const Posting& posting : postings) sorted[places[posting.term]++] = posting;
  for (const uint32_t term : order) {
    writer.BeginTerm(names[term]);
    for (uint32_t i = begins[term]; i < begins[term + 1]; ++i) {
      writer.Add(sorted[i].slot, sorted[i].frequency);
    }
    writer.EndTerm();
  }
  return writer.Finish();
}

absl::StatusOr<std::shared_ptr<const Postings>> Postings::Merge(std::span<const Input> inputs,
                                                                uint32_t documents,
                                                                Checkpoint checkpoint) {
  PostingsWriter writer(documents);
  for (const Input& input : inputs) {
    for (size_t slot = 0; slot < input.new_slots.size(); ++slot) {
      if (input.new_slots[slot] == kGone) continue;
      writer.SetNorm(input.new_slots[slot], input.postings->norms_[slot]);
    }
  }
  std::vector<uint32_t> next(inputs.size());  // the number of each input's next term
  std::vector<size_t> having;                 // inputs that have the least of them
  for (uint64_t done = 0;;) {
    having.clear();
    std::string_view least;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (next[i] == inputs[i].postings->term_count()) continue;
      const std::string_view term = inputs[i].postings->term(next[i]);
      const int order = having.empty() ? -1 : term.compare(least);
      if (order > 0) continue;
      if (order < 0) {
        having.clear();
        least = term;
      }
      having.push_back(i);
    }
    if (having.empty()) break;
    writer.BeginTerm(least);
    for (const size_t i : having) {
      PostingsCursor cursor(*inputs[i].postings, next[i]++);
      for (bool more = cursor.Advance(0); more; more = cursor.Next()) {
        const uint32_t slot = inputs[i].new_slots[cursor.slot()];
        if (slot != kGone) writer.Add(slot, cursor.frequency());
        if (++done % kPiece == 0) {
          if (absl::Status status = checkpoint(); !status.ok()) return status;
        }
      }
    }
    writer.EndTerm();
  }
  return writer.Finish();
}

absl::StatusOr<std::shared_ptr<Postings>> Postings::Open(std::shared_ptr<const void> owner,
                                                         std::string_view bytes) {
  PostingsHeader header;
  if (bytes.size() < sizeof header) {
    return Damaged(absl::StrCat("there are ", bytes.size(), " bytes, too few for a header"));
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kPostingsMagic) return Damaged("they do not begin with POST");
  if (header.version != kPostingsVersion || header.analyzer != kAnalyzerVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("postings are of format ", header.version, " and analyzer ", header.analyzer,
                     "; this program has ", kPostingsVersion, " and ", kAnalyzerVersion));
  }
  if (header.name_bytes > ~uint32_t{0} || header.postings_bytes > bytes.size() ||
      header.postings_bytes < kPostingsSlack) {
    return Damaged("the header's lengths are impossible");
  }
  const size_t norms = sizeof header;
  const size_t records = norms + PadTo8(header.documents);
  const size_t names = records + (size_t{header.terms} + 1) * sizeof(TermRecord);
  const size_t postings = names + PadTo8(header.name_bytes);
  if (postings + header.postings_bytes != bytes.size()) {
    return Damaged(absl::StrCat("the header tells of ", postings + header.postings_bytes,
                                " bytes, there are ", bytes.size()));
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 8 != 0) {
    std::shared_ptr<char[]> copy(new char[bytes.size()]);
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    bytes = {copy.get(), bytes.size()};
    owner = std::move(copy);
  }
  auto opened = std::make_shared<Postings>();
  opened->owner_ = std::move(owner);
  opened->data_ = bytes;
  opened->header_ = header;
  const auto* const data = reinterpret_cast<const uint8_t*>(bytes.data());
  opened->norms_ = data + norms;
  opened->records_ = reinterpret_cast<const TermRecord*>(data + records);
  opened->names_ = bytes.data() + names;
  opened->postings_ = data + postings;
  return opened;
}

absl::StatusOr<std::shared_ptr<const Postings>> Postings::Parse(std::shared_ptr<const void> owner,
                                                                std::string_view bytes,
                                                                Checkpoint checkpoint) {
  auto opened = Open(std::move(owner), bytes);
  if (!opened.ok()) return opened.status();
  const Postings& postings = **opened;
  const auto without = std::count(postings.norms_, postings.norms_ + postings.document_count(), 0);
  if (postings.document_count() - without != postings.documents_with_words()) {
    return Damaged("the header's count of documents with words is not that of the norms");
  }
  if (absl::Status status = postings.CheckTerms(checkpoint); !status.ok()) return status;
  return opened;
}

absl::Status Postings::CheckTerms(Checkpoint checkpoint) const {
  // Names first: what Find compares.
  for (uint32_t i = 0; i < header_.terms; ++i) {
    const uint32_t begin = records_[i].name_begin, end = records_[i + 1].name_begin;
    if (begin >= end || end > header_.name_bytes || end - begin > kMaxTermBytes ||
        (i == 0 && begin != 0)) {
      return Damaged(absl::StrCat("term ", i, " has its name at bytes ", begin, " to ", end));
    }
  }
  if (records_[header_.terms].name_begin != header_.name_bytes) {
    return Damaged("names do not end where the last term's does");
  }
  uint64_t length = 0, done = 0;
  for (uint32_t i = 0; i < header_.terms; ++i) {
    if (i > 0 && term(i - 1) >= term(i)) {
      return Damaged(absl::StrCat("term ", i, " is not behind the one before it"));
    }
    auto frequencies = CheckTerm(i);
    if (!frequencies.ok()) return frequencies.status();
    length += *frequencies;
    done += records_[i].frequency;
    if (done >= kPiece) {
      done = 0;
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
  }
  if (length != header_.total_length) {
    return Damaged(
        absl::StrCat("the header tells of ", header_.total_length, " words, there are ", length));
  }
  return absl::OkStatus();
}

// The sum of the term's frequencies.
absl::StatusOr<uint64_t> Postings::CheckTerm(uint32_t number) const {
  const TermRecord& record = records_[number];
  const auto damaged = [&](std::string_view what) {
    return Damaged(absl::StrCat("term ", number, " ", absl::string_view(what.data(), what.size())));
  };
  if (record.frequency == 0 || record.frequency > header_.documents) {
    return damaged("has an impossible number of documents");
  }
  if (record.frequency == 1) {
    const auto slot = static_cast<uint32_t>(record.postings);
    const uint64_t frequency = record.postings >> 32;
    if (slot >= header_.documents || norms_[slot] == 0 || frequency == 0) {
      return damaged("has an impossible posting");
    }
    return frequency;
  }
  const size_t end = header_.postings_bytes - kPostingsSlack;
  const uint32_t blocks = BlocksOf(record.frequency);
  if (record.postings > end || (end - record.postings) / sizeof(PostingsBlock) < blocks) {
    return damaged("has its blocks outside of the postings");
  }
  const uint8_t* const table = postings_ + record.postings;
  size_t at = record.postings + blocks * sizeof(PostingsBlock);
  uint64_t sum = 0, next = 0;
  uint32_t slots[kBlockPostings], frequencies[kBlockPostings];
  for (uint32_t b = 0; b < blocks; ++b) {
    const PostingsBlock block = LoadBlock(table, b);
    const uint32_t count = b + 1 < blocks ? kBlockPostings : record.frequency - b * kBlockPostings;
    if (block.slot_bits > 32 || block.frequency_bits > 32) return damaged("has a block too wide");
    const size_t slot_bytes = PackedBytes(count, block.slot_bits);
    const size_t bytes = slot_bytes + PackedBytes(count, block.frequency_bits);
    if (bytes > end - at) return damaged("has a block outside of the postings");
    UnpackBits(postings_ + at, count, block.slot_bits, slots);
    UnpackBits(postings_ + at + slot_bytes, count, block.frequency_bits, frequencies);
    at += bytes;
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t slot = next + slots[i];
      const uint64_t frequency = uint64_t{frequencies[i]} + 1;
      if (slot >= header_.documents || norms_[slot] == 0 || norms_[slot] < block.min_norm ||
          (block.max_frequency < 255 && frequency > block.max_frequency) ||
          frequency > ~uint32_t{0}) {
        return damaged("has an impossible posting");
      }
      sum += frequency;
      next = slot + 1;
    }
    if (next != uint64_t{block.last_slot} + 1) return damaged("has a block that ends elsewhere");
  }
  return sum;
}

std::optional<uint32_t> Postings::Find(std::string_view name) const {
  uint32_t low = 0, high = header_.terms;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    const int order = term(middle).compare(name);
    if (order == 0) return middle;
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::nullopt;
}

}  // namespace vecino::fields
