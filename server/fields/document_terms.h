// The words of one text, counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace vecino::fields {

// What a document's text becomes when it is written, before it is part of a segment: each different
// term once, with its frequency. One allocation; none for a text without words.
//
// Thread safety: immutable; thread safe.
class DocumentTerms {
 public:
  struct Entry {
    uint32_t hash = 0;            // of the term, HashTerm
    uint32_t frequency = 0;       // at least 1
    uint32_t begin = 0, end = 0;  // of the term's bytes
  };

  DocumentTerms() = default;
  // Analyzes the text with Analyzer::ForThisThread(). About 50 ns a word.
  explicit DocumentTerms(std::string_view text);

  bool empty() const { return size() == 0; }
  // Different terms, in ascending order of hash; equal hashes in that of their terms.
  size_t size() const { return data_ == nullptr ? 0 : header().count; }
  const Entry& entry(size_t i) const { return entries()[i]; }
  std::string_view term(size_t i) const {
    const Entry& e = entry(i);
    return {reinterpret_cast<const char*>(entries() + size()) + e.begin, e.end - e.begin};
  }
  // Words, those that come again too.
  uint32_t length() const { return data_ == nullptr ? 0 : header().length; }
  size_t bytes() const { return data_ == nullptr ? 0 : header().bytes; }

  // How often the term comes. hash: HashTerm(term).
  uint32_t Frequency(uint32_t hash, std::string_view term) const;

 private:
  struct Header {
    uint32_t count = 0, length = 0;
    uint64_t bytes = 0;  // of all of data_
  };
  const Header& header() const { return *reinterpret_cast<const Header*>(data_.get()); }
  const Entry* entries() const {
    return reinterpret_cast<const Entry*>(data_.get() + sizeof(Header));
  }

  std::shared_ptr<const char[]> data_;  // Header, entries, the terms' bytes; shared by copies
};

// For tables in memory only: it may differ between two builds.
uint32_t HashTerm(std::string_view term);

}  // namespace vecino::fields
