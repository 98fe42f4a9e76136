#include "server/fields/document_terms.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "server/fields/analyzer.h"

namespace vecino::fields {
namespace {

// Counts terms in an open table. Kept between texts, so that it is allocated once.
class Counter {
 public:
  void Add(std::string_view term) {
    ++length_;
    if (entries_.size() * 2 >= table_.size()) Grow();
    const uint32_t hash = HashTerm(term);
    const size_t mask = table_.size() - 1;
    size_t at = hash & mask;
    for (; table_[at] != 0; at = (at + 1) & mask) {
      DocumentTerms::Entry& entry = entries_[table_[at] - 1];
      if (entry.hash == hash && entry.end - entry.begin == term.size() &&
          std::memcmp(bytes_.data() + entry.begin, term.data(), term.size()) == 0) {
        ++entry.frequency;
        return;
      }
    }
    const auto begin = static_cast<uint32_t>(bytes_.size());
    bytes_.append(term);
    entries_.push_back({hash, 1, begin, static_cast<uint32_t>(bytes_.size())});
    table_[at] = static_cast<uint32_t>(entries_.size());
  }

  std::vector<DocumentTerms::Entry>& entries() { return entries_; }
  const std::string& bytes() const { return bytes_; }
  uint32_t length() const { return length_; }

  void Clear() {
    if (table_.size() > kKeptEntries) {
      *this = {};
      return;
    }
    std::fill(table_.begin(), table_.end(), 0);
    entries_.clear();
    bytes_.clear();
    length_ = 0;
  }

 private:
  static constexpr size_t kKeptEntries = 8192;

  void Grow() {
    table_.assign(std::max<size_t>(256, table_.size() * 2), 0);
    const size_t mask = table_.size() - 1;
    for (size_t i = 0; i < entries_.size(); ++i) {
      size_t at = entries_[i].hash & mask;
      while (table_[at] != 0) at = (at + 1) & mask;
      table_[at] = static_cast<uint32_t>(i + 1);
    }
  }

  std::vector<uint32_t> table_;  // index + 1 of an entry; 0: none. A power of two
  std::vector<DocumentTerms::Entry> entries_;
  std::string bytes_;
  uint32_t length_ = 0;
};

}  // namespace

uint32_t HashTerm(std::string_view term) {
  // FNV-1a, eight bytes at a time, mixed at the end.
  uint64_t hash = 14695981039346656037ull ^ term.size();
  const char* data = term.data();
  size_t n = term.size();
  for (; n >= 8; n -= 8, data += 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  uint64_t word = 0;
  std::memcpy(&word, data, n);
  hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
  return static_cast<uint32_t>(hash >> 32);
}

DocumentTerms::DocumentTerms(std::string_view text) {
  if (text.empty()) return;
  thread_local Counter counter;
  counter.Clear();
  Analyzer::ForThisThread().Analyze(text, [&](std::string_view term) { counter.Add(term); });
  auto& entries = counter.entries();
  if (entries.empty()) return;
  const std::string& bytes = counter.bytes();
  std::sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (a.hash != b.hash) return a.hash < b.hash;
    return std::string_view(bytes).substr(a.begin, a.end - a.begin) <
           std::string_view(bytes).substr(b.begin, b.end - b.begin);
  });
  Header header;
  header.count = static_cast<uint32_t>(entries.size());
  header.length = counter.length();
  header.bytes = sizeof(Header) + entries.size() * sizeof(Entry) + bytes.size();
  std::shared_ptr<char[]> data(new char[header.bytes]);
  std::memcpy(data.get(), &header, sizeof header);
  std::memcpy(data.get() + sizeof header, entries.data(), entries.size() * sizeof(Entry));
  std::memcpy(data.get() + sizeof header + entries.size() * sizeof(Entry), bytes.data(),
              bytes.size());
  data_ = std::move(data);
}

uint32_t DocumentTerms::Frequency(uint32_t hash, std::string_view term) const {
  if (empty()) return 0;
  const Entry* const first = entries();
  const Entry* const last = first + size();
  const Entry* at =
      std::lower_bound(first, last, hash, [](const Entry& e, uint32_t h) { return e.hash < h; });
  for (; at != last && at->hash == hash; ++at) {
    if (this->term(static_cast<size_t>(at - first)) == term) return at->frequency;
  }
  return 0;
}

}  // namespace vecino::fields
