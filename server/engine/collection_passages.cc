// Which passage of a document a search shows.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/engine/collection_query.h"
#include "server/fields/analyzer.h"

namespace vecino::engine {
namespace {

// Text of documents found by words alone in which one search looks for the words again; it is cut
// into words at about 50 MB/s. What comes after it has no passage.
constexpr size_t kMaxWordsBytes = 1 << 20;

// The passage that has most of the words, of several the one with most occurrences, then the first;
// -1 when none has any.
int BestByWords(const std::vector<fields::LexicalTerm>& words, const storage::Document& document) {
  absl::flat_hash_map<std::string_view, size_t> places;
  for (size_t i = 0; i < words.size(); ++i) places.emplace(words[i].term, i);
  fields::Analyzer& analyzer = fields::Analyzer::ForThisThread();
  int best = -1;
  std::pair<int, int> most{0, 0};
  std::vector<bool> seen(words.size());
  for (size_t i = 0; i < document.passages.size(); ++i) {
    const storage::Passage& range = document.passages[i];
    std::pair<int, int> found{0, 0};  // different words, occurrences
    seen.assign(words.size(), false);
    analyzer.Analyze(std::string_view(document.text).substr(range.begin, range.end - range.begin),
                     [&](std::string_view term) {
                       const auto place = places.find(term);
                       if (place == places.end()) return;
                       ++found.second;
                       found.first += !seen[place->second];
                       seen[place->second] = true;
                     });
    if (found > most) {
      most = found;
      best = static_cast<int>(i);
    }
  }
  return best;
}

}  // namespace

void Collection::SetPassages(const Query& query, std::span<const int> passages,
                             std::vector<SearchHit>* hits) {
  size_t words_bytes = 0;
  for (size_t i = 0; i < hits->size() && i < passages.size(); ++i) {
    SearchHit& hit = (*hits)[i];
    storage::Document& document = hit.document;
    int index = passages[i];
    if (index < 0 && query.asked.text && words_bytes + document.text.size() <= kMaxWordsBytes) {
      words_bytes += document.text.size();
      index = BestByWords(query.words, document);
    }
    if (index >= 0 && static_cast<size_t>(index) < document.passages.size()) {
      HitPassage& passage = hit.passage.emplace();
      passage.index = index;
      passage.range = document.passages[static_cast<size_t>(index)];
      if (query.asked.text) {
        passage.text =
            document.text.substr(passage.range.begin, passage.range.end - passage.range.begin);
      }
    }
    const bool with_vectors = query.asked.vector && document.passages.size() > 1;
    if (!query.asked.passages && !with_vectors) document.passages.clear();
  }
}

}  // namespace vecino::engine
