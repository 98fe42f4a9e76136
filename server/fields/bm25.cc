#include "server/fields/bm25.h"

#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "server/fields/analyzer.h"
#include "server/fields/bm25_scan.h"

namespace vecino::fields {
namespace {

bool Bit(const uint64_t* words, uint32_t slot) {
  return (words[slot / 64] >> (slot % 64) & 1) != 0;
}

bool MayReturn(const LexicalPart& part, uint32_t slot) {
  return (part.dead == nullptr || !Bit(part.dead, slot)) &&
         (part.allowed == nullptr || Bit(part.allowed, slot));
}

// What is known of one part before it is scanned.
struct PartTerms {
  struct Found {
    uint32_t number;  // in the segment's postings
    size_t term;      // its place in the query
  };
  std::vector<Found> found;           // of a segment
  std::vector<uint32_t> frequencies;  // of rows: row by row, one for each term
};

// Of all parts together.
struct Statistics {
  uint64_t documents = 0, total_length = 0;
  std::vector<uint64_t> having;  // documents that have each term
};

}  // namespace

std::vector<LexicalTerm> LexicalTerms(std::string_view text) {
  std::vector<LexicalTerm> terms;
  absl::flat_hash_map<std::string, size_t> places;
  Analyzer::ForThisThread().Analyze(text, [&](std::string_view term) {
    const auto [it, added] = places.try_emplace(std::string(term), terms.size());
    if (added) {
      terms.push_back({std::string(term), HashTerm(term), 1});
    } else {
      ++terms[it->second].count;
    }
  });
  return terms;
}

absl::StatusOr<std::vector<LexicalHit>> SearchBm25(std::span<const LexicalTerm> terms,
                                                   std::span<const LexicalPart> parts,
                                                   const Bm25& options,
                                                   absl::FunctionRef<absl::Status()> checkpoint) {
  Statistics all;
  all.having.resize(terms.size());
  std::vector<PartTerms> in(parts.size());
  for (size_t p = 0; p < parts.size(); ++p) {
    const LexicalPart& part = parts[p];
    if (part.postings != nullptr) {
      all.documents += part.postings->documents_with_words();
      all.total_length += part.postings->total_length();
      for (size_t t = 0; t < terms.size(); ++t) {
        const auto number = part.postings->Find(terms[t].term);
        if (!number.has_value()) continue;
        in[p].found.push_back({*number, t});
        all.having[t] += part.postings->document_frequency(*number);
      }
    } else {
      in[p].frequencies.resize(part.rows.size() * terms.size());
      for (size_t slot = 0; slot < part.rows.size(); ++slot) {
        const DocumentTerms* const row = part.rows[slot];
        if (row == nullptr || row->empty()) continue;
        ++all.documents;
        all.total_length += row->length();
        for (size_t t = 0; t < terms.size(); ++t) {
          const uint32_t frequency = row->Frequency(terms[t].hash, terms[t].term);
          in[p].frequencies[slot * terms.size() + t] = frequency;
          all.having[t] += frequency > 0;
        }
      }
    }
    if (absl::Status status = checkpoint(); !status.ok()) return status;
  }

  std::vector<float> weights(terms.size());
  for (size_t t = 0; t < terms.size(); ++t) {
    const auto with = static_cast<double>(all.having[t]);
    const double without = static_cast<double>(all.documents) - with;
    weights[t] = static_cast<float>(terms[t].count * std::log1p((without + .5) / (with + .5)) *
                                    (options.k1 + 1));
  }
  LengthFactors lengths;
  const double mean = all.documents == 0 ? 1
                                         : static_cast<double>(all.total_length) /
                                               static_cast<double>(all.documents);
  for (int norm = 0; norm < 256; ++norm) {
    lengths[static_cast<size_t>(norm)] = static_cast<float>(
        options.k1 * (1 - options.b + options.b * LengthOf(static_cast<uint8_t>(norm)) / mean));
  }

  std::vector<LexicalHit> hits;
  LexicalTop top(options.k, options.above);
  for (uint32_t p = 0; p < parts.size(); ++p) {
    const LexicalPart& part = parts[p];
    if (p > 0 && part.group != parts[p - 1].group) {
      const std::vector<LexicalHit> best = top.Take();
      hits.insert(hits.end(), best.begin(), best.end());
      top = LexicalTop(options.k, options.above);
    }
    if (part.postings != nullptr) {
      std::vector<SegmentTerm> found;
      for (const auto& [number, t] : in[p].found) found.push_back({number, weights[t]});
      absl::Status status = ScanSegment(part, p, found, lengths, checkpoint, &top);
      if (!status.ok()) return status;
      continue;
    }
    for (uint32_t slot = 0; slot < part.rows.size(); ++slot) {
      const DocumentTerms* const row = part.rows[slot];
      if (row == nullptr || row->empty() || !MayReturn(part, slot)) continue;
      double sum = 0;
      for (size_t t = 0; t < terms.size(); ++t) {
        const uint32_t frequency = in[p].frequencies[slot * terms.size() + t];
        if (frequency == 0) continue;
        sum += TermScore(weights[t], lengths[NormOf(row->length())], static_cast<float>(frequency));
      }
      const auto score = static_cast<float>(sum);
      if (sum > 0 && score > top.threshold()) top.Push({p, slot, score});
    }
  }
  const std::vector<LexicalHit> best = top.Take();
  hits.insert(hits.end(), best.begin(), best.end());
  return hits;
}

}  // namespace vecino::fields
