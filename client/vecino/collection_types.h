// What a collection is and what is known of its index.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vecino {

enum class Metric { kCosine, kDot, kL2 };

// 0: chosen by the server. A parameter that the index' kind does not have is refused. The ranges
// stand in vecino/v1/collection.proto.
struct IndexParameters {
  int nlist = 0, nprobe = 0;  // lists; lists that a search scans
  int pq_m = 0, pq_bits = 0;  // ivf-pq: codes of a row, bits of each
  int hnsw_m = 0;             // hnsw, and the graph of auto: links a node
  int ef_construction = 0;    // hnsw
  int ef_search = 0;          // hnsw
  int lsh_bits = 0;           // lsh
  bool graph = true;          // auto: whether large quiet segments get a graph

  friend bool operator==(const IndexParameters&, const IndexParameters&) = default;
};

// How the texts of documents are split into passages, each with a vector of its own.
struct Chunking {
  int max_tokens = 0;                 // of a passage; 0 on creation: the model's window
  std::optional<int> overlap_tokens;  // with the next passage, at most; unset on creation: 32

  friend bool operator==(const Chunking&, const Chunking&) = default;
};

// One of the two sides of a migration: the embeddings there were, and those that it makes.
enum class EmbeddingSide { kOld, kNew };

struct EmbeddingSideInfo {
  std::string model;  // empty: none
  std::string model_hash;
  std::string query_prompt, document_prompt;  // names, as in Collection
  int dimension = 0;
  int64_t documents_without_vector = 0;
};

// How alike the answers of the two sides are, over some queries. Shares, mean.
struct EmbeddingOverlap {
  int samples = 0, top_k = 0;
  double overlap = 0;              // of the old side's top_k that are among the new side's
  double rank_biased_overlap = 0;  // p = 0.9
  bool own_texts = false;          // whether the queries were texts of the collection
};

struct EmbeddingMigration {
  enum class State { kBuilding, kReady, kCutOver };
  State state = State::kBuilding;
  EmbeddingSide active = EmbeddingSide::kOld;  // that the collection uses
  EmbeddingSideInfo old_side, new_side;
  int64_t documents_done = 0, documents_total = 0;
  int64_t lag = 0;  // writes that the side not in use does not have yet
  std::optional<EmbeddingOverlap> overlap;
  std::string operation;  // id
  std::chrono::system_clock::time_point begin_time,
      switch_time;      // switch: the epoch before the first
  std::string problem;  // why the side not in use does not catch up; empty: it does
};

struct MigrationOptions {
  std::string model;  // name without `models/`
  int dimension = 0;  // 0: the model's
  // Names of the model's prompts, as in Collection; empty: the defaults, whatever the old ones are.
  std::string query_prompt, document_prompt;
  std::vector<std::string> queries;  // for the overlap; empty: texts of the collection
  int top_k = 0;                     // 0: 10
  bool automatic = false;            // go over once ready, if the overlap is min_overlap at least
  double min_overlap = 0;
  bool allow_vectorless = false;  // go on though documents have a vector and no text
};

struct Collection {
  std::string id;
  int dimension = 0;  // 0 on creation: the model's
  Metric metric = Metric::kCosine;
  std::string model;  // name without `models/`; empty: vectors only
  std::string model_hash;
  // Names of the model's prompts put before queries and documents; empty on creation: `query` and
  // `document`.
  std::string query_prompt, document_prompt;
  int shard_count = 0;  // 0 on creation: the server's default, 2
  // "auto", "flat", "ivf-flat", "ivf-sq8", "ivf-pq", "hnsw" or "lsh"; empty on creation: "auto".
  std::string index_kind;
  double recall_target = 0;  // of searches that name none; 0 on creation: the server's, 0.95
  IndexParameters index_parameters;
  std::optional<Chunking> chunking;  // none: a document has one vector
  std::string etag;
  std::chrono::system_clock::time_point create_time;
  std::optional<EmbeddingMigration> migration;  // none on creation
};

// What may change of a collection; unset: it stays.
struct CollectionUpdate {
  std::optional<double> recall_target;  // above 0, at most 1; of searches that name none
  std::optional<int> nprobe;            // ivf-*: at most nlist; 0: what reaches recall_target
  std::optional<int> ef_search;         // hnsw: at most 4,096; 0: the same
  std::optional<bool> graph;            // auto: whether large quiet segments get a graph
  std::string etag;                     // only if the collection's is this one; empty: any
};

// Bytes.
struct SegmentMemory {
  int64_t codes = 0, rounded = 0, vectors = 0, labels = 0;  // codes and graphs, 8-bit rows, floats
  int64_t mapped = 0;                                       // of these, in memory-mapped files
};

struct SegmentStats {
  std::string kind;  // "FLAT", "IVF", "IVF+GRAPH", "IVF_SQ8", ...
  int64_t rows = 0, deleted_rows = 0;
  int64_t generation = 0;  // 0: none
};

// What one training of a shard produced.
struct GenerationStats {
  int64_t generation = 0, trained_rows = 0;
  int64_t calibrated_rows = 0;  // when nprobe was measured
  // When TuneIndex last changed the calibration, and how many settings it measured; 0: it did not.
  std::chrono::system_clock::time_point tune_time;
  int tuned_points = 0;
  int nlist = 0;
  int nprobe = 0;        // lists that reach the recall target for 10 documents, measured
  double imbalance = 0;  // of the lists: 1 when all are alike
  std::chrono::system_clock::time_point train_time;
};

// A sign that a shard's index does not fit its rows any more.
struct DriftSignal {
  std::string name;  // "growth", "imbalance", "assignment_error", "deleted_share", ...
  double value = 0;  // 0: not known yet
  double limit = 0;  // 0: none; "recall": the target, and value the lower end of its interval
  bool due = false;  // beyond the limit, judged on enough; "recall": surely
};

// What was measured of recall: the share of the true nearest documents that searches found.
struct RecallEstimate {
  double recall = 0;            // mean over searches; says nothing without samples
  double lower = 0, upper = 1;  // its 95% interval
  int64_t samples = 0;          // searches that were measured
  bool enough = false;          // whether these are enough to speak of an estimate: 50
  std::string source;           // of the queries: "live", "stored_documents", "given"
  // Of searches for so many documents (0 and 0: any) ...
  int min_k = 0, max_k = 0;
  // ... under filters that let more than, and at most, this share pass (0 and 1: any, and none).
  double above_share = 0, up_to_share = 1;
  double recall_target = 0;  // of the searches measured, the mean
  std::chrono::system_clock::time_point oldest_sample_time, newest_sample_time;
};
struct RecallStats {
  std::optional<RecallEstimate> live;              // callers' searches
  std::optional<RecallEstimate> stored_documents;  // stored documents as queries
  std::vector<RecallEstimate> by_kind;             // callers' searches by documents and share
};

struct ShardStats {
  int shard = 0;
  int64_t live_documents = 0, last_sequence_number = 0, tail_rows = 0;
  int segments = 0;
  int64_t deleted_rows = 0, tail_bytes = 0;
  int64_t field_bytes = 0;  // of metadata and words: rows, columns, bitmaps, postings
  SegmentMemory memory;     // of its segments
  std::vector<SegmentStats> segment_stats;
  std::optional<GenerationStats> generation;  // the newest
  std::string last_choice;                    // what maintenance did last, and why
  std::vector<DriftSignal> drift;
  RecallStats recall;                      // of its part of answers
  int waiting_tails = 0;                   // full, and not yet drained into a segment
  std::chrono::microseconds index_lag{0};  // how long the oldest of them has waited
};

struct CollectionStats {
  int64_t live_documents = 0, deleted_rows = 0, tail_rows = 0, tail_bytes = 0, segment_bytes = 0;
  int64_t field_bytes = 0;  // as ShardStats::field_bytes
  int segments = 0;
  SegmentMemory memory;  // of the segments; its parts but `mapped` add up to segment_bytes
  std::vector<ShardStats> shards;
  RecallStats recall;                      // of the answers: the best of all shards
  int waiting_tails = 0;                   // as ShardStats::waiting_tails
  std::chrono::microseconds index_lag{0};  // the longest of any shard
};

// What EvaluateRecall measures with: vectors and texts, or stored documents where there are
// neither.
struct RecallQueries {
  std::vector<std::vector<float>> vectors;
  std::vector<std::string> texts;  // with vectors 1,000 at most
  int samples = 0;                 // stored documents, at random: 1 to 2,000; 0: the server's 200
};
// What TuneIndex tunes for.
struct TuningOptions {
  // As of EvaluateRecall, but that `samples` (0: the server's 500) are callers' latest queries, up
  // to half, and stored documents. Vectors and texts: 50 at least for the index to go by them.
  RecallQueries queries;
  int top_k = 10;
  std::string filter;        // docs/filters.md; empty: every document
  double recall_target = 0;  // for which a setting is told, up to 1; 0: the collection's
  std::vector<int> shards;   // empty: all
};
// One setting of the index, measured.
struct TuningPoint {
  int breadth = 0;  // lists of a shard, ef, or rows scored again, the mean; 0: exact
  double recall = 0, recall_error = 0;      // and its standard error
  std::chrono::nanoseconds p50{0}, p99{0};  // of a search of all shards, on one thread
  int64_t rows_scanned = 0;                 // compared, the mean
  bool exact = false;                       // every row that may be found was compared
};
// What a tuning found.
struct IndexTuning {
  std::vector<TuningPoint> points;         // by the recall that was aimed at, rising
  std::optional<TuningPoint> recommended;  // the cheapest that is sure to reach the target
  double recall_target = 0;
  int queries = 0, live_queries = 0;  // measured; of these callers'
  double share = 1;                   // of the documents, that the filter lets pass
  int shards_tuned = 0, shards_not_needed = 0;
};

struct RecallOptions {
  int top_k = 10;
  std::string filter;  // docs/filters.md; empty: every document
  // As in SearchOptions. All 0: as the collection says.
  double recall_target = 0;
  bool exact = false;
  int nprobe = 0, ef_search = 0, rerank = 0;
};
struct RecallEvaluation {
  RecallEstimate recall;               // of the answers
  std::vector<RecallEstimate> shards;  // of each shard's part of them, by number
  std::chrono::microseconds search_time{0}, exact_time{0};  // means of one search
};

}  // namespace vecino
