// The engine's own vocabulary for requests and replies: plain values, no proto, no locking.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/migration_info.h"
#include "server/engine/prompt_names.h"
#include "server/engine/recall_estimate.h"
#include "server/engine/search_effort.h"
#include "server/index/segment_kind.h"
#include "storage/document.h"

namespace vecino::engine {

// Limits on what callers may send; each is named in the error that enforces it.
struct Limits {
  static constexpr int kMaxDimension = 16384;
  static constexpr int kMaxShards = 64;
  static constexpr int kMaxTopK = 1000;
  static constexpr int kMaxBatch = 1000;  // documents, ids or texts in one call
  static constexpr size_t kMaxDocumentIdBytes = 512;
  static constexpr size_t kMaxTextBytes = 1 << 20;
  static constexpr size_t kMaxMetadataBytes = 64 << 10;  // as JSON text
  static constexpr int kMaxMetadataDepth = 32;
  static constexpr int64_t kMaxTimeUs = 253'402'300'799'999'999;  // the end of the year 9999
  static constexpr double kMinRecallTarget = 1e-6;                // what is stored are millionths
  static constexpr int kMaxLists = 65536;                         // nlist and nprobe
  static constexpr int kMinPqBits = 4;
  static constexpr int kMaxPqBits = 8;
  static constexpr int kMinHnswM = 2;
  static constexpr int kMaxHnswM = 128;
  static constexpr int kMinEfConstruction = 4;
  static constexpr int kMaxEf = 4096;
  static constexpr int kMaxLshBits = 16384;
  static constexpr int kMaxRerank = 65536;
  static constexpr int kMaxFacets = 16;                 // fields in one call
  static constexpr int kMaxFacetValues = 1000;          // of one field
  static constexpr size_t kMaxLexicalBytes = 64 << 10;  // of a query's text
  static constexpr int kMaxRankConstant = 10'000;
  static constexpr int kMaxTerms = 100;             // of an expression
  static constexpr int kMaxTermWeight = 1'000'000;  // and the least is its negative
  static constexpr int kMaxSearches = 100;          // in one call
  static constexpr int kMaxGroupSize = 100;         // hits of one group
  static constexpr int kMaxGroupedHits = 1000;      // top_k · group_size
  static constexpr size_t kMaxFieldPathBytes = 512;
  static constexpr int kMaxPagedHits = 10'000;  // before the last page
  static constexpr size_t kMaxRerankQueryBytes = 64 << 10;
  static constexpr int kMinChunkTokens = 16;
  static constexpr int kMinChunkText = 8;  // tokens of a passage beside the model's own
  static constexpr int kDefaultOverlap = 32;
};

enum class Metric { kCosine, kDot, kL2 };
using IndexKind = index::IndexKind;
using IndexSpec = index::IndexSpec;
enum class Truncate { kAuto, kError };

// Whether a higher score is more similar.
constexpr bool HigherIsBetter(Metric metric) { return metric != Metric::kL2; }

// How long a call may take and whether its caller is still there. Checked between stages.
struct CallContext {
  absl::Time deadline = absl::InfiniteFuture();
  std::stop_token stop;
};

// How documents are split into passages; see docs/chunking.md.
struct Chunking {
  int max_tokens = 0;       // of a passage, the model's own ones included; 0: the model's window
  int overlap_tokens = -1;  // in common with the next passage, at most; -1: the default
};

struct CollectionSpec {
  std::string id;
  int dimension = 0;  // 0: the model's
  Metric metric = Metric::kCosine;
  std::string model;    // name without `models/`; empty: the collection takes vectors only
  PromptNames prompts;  // of the model; none without one
  int shard_count = 2;
  IndexSpec index;
  std::optional<Chunking> chunking;  // none: a document has one vector
};

struct CollectionInfo {
  CollectionSpec spec;     // with every default filled in
  std::string model_hash;  // of the model when the collection was created, empty without one
  std::string etag;        // another whenever the definition is another
  absl::Time create_time;
  std::optional<MigrationInfo> migration;  // of what is read; none: no migration

  // The part of the etag that stays when the definition changes, and that no collection made anew
  // under the id has.
  std::string_view identity() const { return std::string_view(etag).substr(0, etag.find('.')); }
};

// A change of what may change of a collection; nullopt: it stays.
struct CollectionUpdate {
  std::string id;
  std::string etag;                     // only if the collection's is this one; empty: any
  std::optional<double> recall_target;  // of searches that name none; IndexSpec, and so the rest
  std::optional<int> nprobe, ef_search;
  std::optional<bool> graph;
  bool validate_only = false;  // check, and change nothing
};

struct ShardStats {
  int shard = 0;
  int64_t live_documents = 0;
  uint64_t last_sequence = 0;
  int64_t tail_rows = 0;  // rows not yet in a segment, dead ones included
  int waiting_tails = 0;  // full ones, to be drained into a segment
  // Since the oldest of them was full, at the earliest since the start; 0: none waits.
  absl::Duration index_lag;
  int segments = 0;
  int64_t deleted_rows = 0;  // dead rows in tails and segments
  int64_t tail_bytes = 0;
  int64_t segment_bytes = 0;  // the sum of the tiers below
  int64_t code_bytes = 0;     // product codes, graphs
  int64_t rounded_bytes = 0;  // 8-bit rows
  int64_t vector_bytes = 0;   // floats
  int64_t label_bytes = 0;
  int64_t mapped_bytes = 0;  // of these, in memory-mapped files
  int64_t field_bytes = 0;   // fields::FieldIndex::bytes
  struct SegmentInfo {
    std::string kind;  // "FLAT", "IVF", "IVF+GRAPH", "IVF_SQ8", ...
    int64_t rows = 0;
    int64_t dead = 0;
    uint64_t generation = 0;  // 0: none
  };
  std::vector<SegmentInfo> segment_list;
  // The newest generation; id 0: none yet.
  uint64_t generation = 0;
  int64_t generation_rows = 0;  // that were there when it was trained
  int64_t calibrated_rows = 0;  // when its recall was measured last
  absl::Time tuned_at;          // when a tuning changed that since
  int tuned_points = 0;         // settings that it measured; 0: none did
  int nlist = 0;
  absl::Time trained_at;
  double imbalance = 0;     // n·Σs²/(Σs)² of the sizes of its lists
  int nprobe = 0;           // what calibration chose for the collection's recall target at k = 10
  std::string last_choice;  // what maintenance did last, and why, in a sentence
  // Signs that the index does not fit its rows any more; see drift.h.
  struct DriftInfo {
    std::string name;
    double value = 0, limit = 0;
    bool due = false;
  };
  std::vector<DriftInfo> drift;
  RecallStats recall;  // of its own answers
};

struct CollectionStats {
  RecallStats recall;              // of the answers
  std::vector<ShardStats> shards;  // in shard order; totals are their sums
};

struct WriteToken {
  int shard = 0;
  uint64_t sequence = 0;
};

// What a write does about a document that exists, or does not.
enum class WriteMode {
  kUpsert,   // replaces it, or inserts it
  kInsert,   // ALREADY_EXISTS when there is one
  kReplace,  // NOT_FOUND when there is none
};

// One document to write. `document.id` names it; sequence, create and update time are ignored.
// `document.vector` empty: it is made from the text, if there is one and the collection has a
// model; otherwise the document is stored without. `document.expire_time_us`: in the future, or 0.
struct DocumentWrite {
  storage::Document document;
  WriteMode mode = WriteMode::kUpsert;
  std::string etag;    // not empty: ABORTED unless it is the current version's
  int64_t ttl_us = 0;  // above 0: expires so long after the write; then expire_time_us must be 0
  // The vector and the expire time are those of a version read before: the one is as it is indexed,
  // the other may have passed, which the etag then finds.
  bool vector_as_stored = false;
  bool expiry_as_stored = false;
};

// The etag of a document: differs between any two versions, of collections of one name too.
std::string EtagOf(uint32_t uid, uint64_t sequence);
// ABORTED for a write that asks for the etag `given`: the document has `current`, or there is none.
absl::Status WrongEtag(std::string_view collection, std::string_view id, std::string_view current,
                       std::string_view given);
absl::Status NoEtag(std::string_view collection, std::string_view id, std::string_view given);

// What became of one write of a batch.
struct WriteResult {
  absl::Status status;
  WriteToken token;  // valid when status is OK
  int64_t create_time_us = 0;
  int64_t update_time_us = 0;
  int64_t expire_time_us = 0;  // 0: never
  uint32_t uid = 0;            // of the collection; for EtagOf
  int token_count = 0;
  bool truncated = false;
};

// Makes the next version of a document from the current one (null: there is none), whole, with its
// vector. An error is the caller's result, and nothing is written. mode and etag of what it returns
// are not looked at.
using ModifyFn = std::function<absl::StatusOr<DocumentWrite>(const storage::Document* current)>;

// Makes a document's next metadata (JSON text of one object, or empty) from the current; an error
// ends the work and names the document.
using PatchFn = std::function<absl::StatusOr<std::string>(const std::string& metadata)>;

// The type URL of the payload in which a status carries the name of a field.
inline constexpr std::string_view kFieldPayload = "type.googleapis.com/vecino.engine.Field";

// Names what is at fault in a bad request: attached to INVALID_ARGUMENT statuses so that the RPC
// layer can fill BadRequest details. Path as in the contract, such as `documents[3].vector`. The
// message of the status is "path: message".
absl::Status InvalidField(std::string_view field, std::string_view message);

// The field named by InvalidField, or empty.
std::string FieldOf(const absl::Status& status);

// Marks the RESOURCE_EXHAUSTED of a read whose documents take more than the caller's `max_bytes`.
// Repeating such a call as it is does not help.
inline constexpr std::string_view kOverBudgetPayload = "type.googleapis.com/vecino.engine.Budget";
bool IsOverBudget(const absl::Status& status);

struct TextQuery {
  std::string text;
  Truncate truncate = Truncate::kAuto;
};
struct VectorQuery {
  std::vector<float> vector;
};
struct DocumentQuery {
  std::string id;
};

// A weighted sum of vectors; see query_expression.h.
struct ExpressionQuery {
  struct Term {
    std::variant<TextQuery, VectorQuery, DocumentQuery> term;
    float weight = 1;
  };
  std::vector<Term> terms;
  bool include_term_documents = false;  // whether documents of terms may be hits
};

// Words, ranked by BM25; see docs/lexical.md.
struct LexicalQuery {
  std::string text;
};

// How a ranking by meaning and one by words become one; see fusion.h.
struct Fusion {
  enum class Method { kRrf, kWeightedScores };
  Method method = Method::kRrf;
  // Not both 0. One of 0 leaves that ranking out.
  float dense_weight = 1;
  float lexical_weight = 0.6f;
  int rank_constant = 60;
  int candidates = 0;  // hits of each ranking; 0: twice top_k, at least 100, at most kMaxTopK
};

// Meaning and words together.
struct HybridQuery {
  std::variant<TextQuery, VectorQuery> dense;
  std::string words;
  Fusion fusion;
};

// Groups of hits whose documents have a metadata field in common; see hit_groups.h.
struct GroupBy {
  std::string field;   // a path by dots
  int group_size = 1;  // most hits of a group
};
// The value that a group has in common; monostate: none, the document is a group of its own.
using GroupValue = std::variant<std::monostate, bool, double, std::string>;

// Hits that differ; see diverse_hits.h. Of a hybrid query the merged score, over the best one,
// stands for similarity to the query, and cosines of vectors for that of documents, 0 without a
// vector.
struct Diversify {
  float lambda = 0.5f;
  int candidates = 0;  // to choose from; 0: kMaxTopK at most, five times top_k
};

// A stage behind the search that scores pairs of the query and a hit's text; see docs/rerank.md.
struct Rerank {
  std::string model;   // name without `models/`; empty: the only reranker, in fp32
  int candidates = 0;  // hits to score; 0: the larger of kDefaultRerank and top_k
  absl::Duration budget = absl::InfiniteDuration();  // of the stage
  std::string query;                                 // empty: the query's text
};
inline constexpr int kDefaultRerank = 50;

// Where a page of hits ends: behind the hit of this score, sequence number and shard.
struct SearchPosition {
  float score = 0;
  int shard = 0;
  uint64_t sequence = 0;
  int depth = 0;  // hits up to there, on all pages
};

struct SearchRequest {
  std::variant<TextQuery, VectorQuery, DocumentQuery, ExpressionQuery, LexicalQuery, HybridQuery>
      query;
  int top_k = 10;
  storage::DocumentParts parts;
  std::vector<WriteToken> tokens;  // the search sees at least these
  std::string filter;              // docs/filters.md; empty: every document
  // Zero (false): as the collection's index policy says. See index::SearchParams.
  double recall_target = 0;
  bool exact = false;
  int nprobe = 0;
  int ef_search = 0;
  int rerank = 0;
  // The documents of the reply may take about so many bytes; see Engine::Get.
  size_t max_bytes = std::numeric_limits<size_t>::max();
  std::optional<float> min_score;   // only hits with this score or a better one
  std::optional<GroupBy> group_by;  // top_k counts groups; alone of the three
  // Alone of the three, and not with words alone, whose scores are no similarity of vectors.
  std::optional<Diversify> diversify;
  std::optional<SearchPosition> after;  // only hits behind it; alone of the three
  std::optional<Rerank> reranking;      // not with any of the three
  // Tell how it was answered; verify: make it again exactly, and compare, which takes long.
  struct Explain {
    bool verify = false;
  };
  std::optional<Explain> explain;
};

// A value of a metadata field.
using FieldValue = std::variant<bool, double, std::string>;

// How often the values of one metadata field occur.
struct Facet {
  std::string field;
  struct Value {
    FieldValue value;
    int64_t count = 0;
  };
  std::vector<Value> values;  // most frequent first, equal counts in order of value
  int64_t distinct_values = 0;
  int64_t documents = 0;  // that have the field with a value other than null
};

// A part of a document's text.
struct HitPassage {
  int index = 0;  // among the document's passages
  storage::Passage range;
  std::string text;  // when the search returns texts
};

struct SearchHit {
  storage::Document document;  // its passages only when they were asked for
  float score = 0;
  int group = -1;  // place of its group's value in SearchResult::groups
  // Of a hybrid query: its scores in the two rankings, where it was among their candidates.
  std::optional<float> dense_score, lexical_score;
  std::optional<float> rerank_score;  // of a hit that was scored
  // In a chunked collection: the passage nearest to the query, whose score dense_score or else
  // score is; of what was found by words alone the one with most of them, where texts are returned
  // and as long as that does not take too long.
  std::optional<HitPassage> passage;
};

// What reranking did.
struct Reranked {
  std::string model;
  int pairs = 0;          // scored
  int truncated = 0;      // of these
  bool complete = false;  // whether all candidates with text were
};

struct SearchResult {
  // Best first; equal scores by ascending sequence, then by shard. With group_by the hits of each
  // group together, groups by their best hit; with diversify in the order they were chosen; with
  // reranking those that were scored first, best first, then the others as they were.
  std::vector<SearchHit> hits;
  std::vector<GroupValue> groups;  // with group_by
  // Behind the last hit, where more may follow: none with group_by, diversify and reranking.
  std::optional<SearchPosition> next;
  Metric metric = Metric::kCosine;
  // Whether scores are those of words, alone or in a hybrid query: higher is better, whatever the
  // metric.
  bool by_words = false;
  int query_token_count = 0;
  bool query_truncated = false;
  absl::Duration embed_time, search_time, fetch_time, rerank_time;
  std::optional<Reranked> reranked;  // with reranking
  SearchEffort effort;
  std::optional<SearchExplanation> explanation;  // where it was asked for
};

}  // namespace vecino::engine
