// The plain values of Vecino's C++ client. No proto or gRPC type is in this header.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "vecino/collection_types.h"

namespace vecino {

// gRPC's canonical codes, by number.
enum class Code {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// The code's name, such as "NOT_FOUND".
std::string_view CodeName(Code code);

// How a call ended. A plain value.
class Status {
 public:
  Status() = default;
  Status(Code code, std::string message, std::string field = {});

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  // The request field at fault, as the server named it in BadRequest details; often empty.
  const std::string& field() const { return field_; }
  // "NOT_FOUND: …", with the field where there is one.
  std::string ToString() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::string field_;
};

// A value or the status that says why there is none.
template <typename T>
class Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : value_(std::move(status)) {}  // NOLINT
  bool ok() const { return std::holds_alternative<T>(value_); }
  // OK when there is a value.
  Status status() const { return ok() ? Status() : std::get<Status>(value_); }
  // Require ok().
  T& value() & { return std::get<T>(value_); }
  const T& value() const& { return std::get<T>(value_); }
  T&& value() && { return std::get<T>(std::move(value_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> value_;
};

enum class InputType { kDocument, kQuery };
enum class Truncate { kAuto, kError };

// A second name of a collection, which can stand for its id in every call but those that create or
// delete collections and aliases.
struct Alias {
  std::string id;
  std::string target;                                 // id of the collection
  std::chrono::system_clock::time_point create_time;  // of the alias
  std::chrono::system_clock::time_point update_time;  // when it was pointed to its target
};

// What maintenance or administration did.
struct Event {
  std::chrono::system_clock::time_point time;
  std::string collection;    // id; empty: of the server
  std::optional<int> shard;  // none: of the whole collection
  // "drain", "merge", "retrain", "retrain stage", "retrain rejected", "calibrate", "graph",
  // "failure", "collection created", "collection deleted", "alias changed", "operation started",
  // "operation ended", "migration"; "unknown" from a newer server.
  std::string kind;
  std::string message;  // what and why, in a sentence
};

// Long-running work on a collection's index.
struct OperationShard {
  int shard = 0;
  std::string stage;                      // "waiting", "training", "done", ...
  int64_t rows_done = 0, rows_total = 0;  // of the stage; total 0: not known
  bool done = false;
  Status status;  // when done
  // Of a retrain or a tuning: "published", "rejected", "not needed"; empty before.
  std::string outcome;
  std::string reason;  // when it was rejected or not needed
  // Of old index and new build, or before and after a tuning, on the same queries; 0: not measured.
  double recall_before = 0, recall_after = 0;
  int64_t rows_scanned_before = 0, rows_scanned_after = 0;  // by a search, the mean
};

// Good to a factor of two.
struct OperationEstimate {
  int64_t rows = 0, deleted_rows = 0;
  std::chrono::microseconds duration{0};
  int64_t peak_bytes = 0;   // while it runs, beside what is there
  int64_t index_bytes = 0;  // of what it makes
};

struct Operation {
  // kUnknown: from a newer server.
  enum class Type { kRetrain, kCompact, kPurge, kPatch, kMigrate, kTune, kUnknown };
  std::string id;  // empty: nothing was started
  std::string collection;
  Type type = Type::kRetrain;
  std::chrono::system_clock::time_point create_time, end_time;  // end: the epoch until it is done
  bool done = false, cancel_requested = false;
  Status status;  // when done
  std::vector<OperationShard> shards;
  std::optional<OperationEstimate> estimate;    // with validate_only
  std::optional<EmbeddingMigration> migration;  // kMigrate, unless it ended before the last start
  std::optional<IndexTuning> tuning;            // kTune, once it succeeded
};

// What a purge or a patch by filter would do, or has begun to.
struct DocumentChange {
  Operation operation;  // its id is empty when nothing was begun
  int64_t count = 0;    // documents that the filter lets pass, when nothing was begun
  std::vector<std::string> sample_ids;  // of some of them
};

// What ExportIndex sends of a shard.
struct IndexExportInfo {
  int shard = 0, shard_count = 0;
  int64_t rows = 0;         // of the index: so many ids follow
  int64_t index_bytes = 0;  // of the FAISS index file
  std::string description;  // "IndexIVFFlat, 70 lists, nprobe 9, 5,000 rows"
  std::string index_kind;   // as Collection::index_kind
  int dimension = 0;
  Metric metric = Metric::kCosine;
};

// Takes what ExportIndex sends: Begin, then the file's bytes in order, then the document ids in
// order of FAISS's ids (0, 1, …), all on the caller's thread. An error ends the call and is its
// result. All of it comes once, unless Restart says true.
class IndexExportSink {
 public:
  virtual ~IndexExportSink() = default;
  virtual Status Begin(const IndexExportInfo& info) = 0;
  virtual Status IndexData(std::string_view bytes) = 0;
  virtual Status DocumentIds(const std::vector<std::string>& ids) = 0;
  // The stream broke off after Begin, for `why`: the server stops, or the connection is lost. True:
  // what came is forgotten and the server asked for the index anew, as it is then; Begin comes
  // again. False: the call ends with `why`.
  virtual bool Restart(const Status& why) {
    static_cast<void>(why);
    return false;
  }
};

// A part of a document's text.
struct Passage {
  int index = 0;              // among the document's passages
  size_t start = 0, end = 0;  // bytes [start, end) of the text
  std::string text;           // of a hit's passage, when the search returns texts
  std::vector<float> vector;  // of a document's passages, when vectors were asked for
};

struct Document {
  std::string id;
  std::string text;
  std::string metadata_json;  // one JSON object, or empty
  std::vector<float> vector;  // empty: made from the text, not asked for, or there are several
  std::vector<Passage>
      passages;  // set by reads that ask for them, or for vectors where several are
  int64_t version = 0;
  std::chrono::system_clock::time_point create_time, update_time;
  // Changes with every version. Set by reads; Upsert, Update and Delete with an etag do something
  // only when it is the current one, and are ABORTED otherwise. Other writes take no notice of it.
  std::string etag;
  // When the document goes by itself; none: never. In a write instead of it `ttl`, the time from
  // the write on, may be given; a read sets expire_time.
  std::optional<std::chrono::system_clock::time_point> expire_time;
  std::optional<std::chrono::microseconds> ttl;
};

// What a write does about a document that exists, or does not.
enum class WriteMode {
  kUpsert,   // replaces it, or inserts it
  kInsert,   // ALREADY_EXISTS when there is one
  kReplace,  // NOT_FOUND when there is none
};

// Which parts of a document a read returns besides id, version and times.
struct ReadMask {
  bool text = true, metadata = true, vector = false, passages = false;
};

struct StreamOptions {
  ReadMask read_mask;
  // One of `slices` parts whose union is everything and no two of which share a document; each is
  // of a moment of its own.
  int slice = 0, slices = 1;  // 0 to slices - 1; 1 to 1,024
  std::string filter;         // only documents that it lets pass; empty: all
  std::string resume_token;   // the last that DocumentsFn was given; empty: from the start
  // Told before the stream is taken up again behind what came, which is at a later moment.
  std::function<void(const Status& why)> on_resume;
};

// Takes the next documents, perhaps none, and the token to go on behind them. An error ends the
// call and is its result.
using DocumentsFn =
    std::function<Status(std::vector<Document> documents, const std::string& resume_token)>;

// Takes the next event, and how many were missed right before it because the caller read too
// slowly; nullopt, first and once, when the watch has begun. An error ends the call and is its
// result.
using EventFn = std::function<Status(const std::optional<Event>& event, int64_t missed)>;

struct WriteToken {
  int shard = 0;
  int64_t sequence_number = 0;
};

struct WriteResult {
  Status status;
  WriteToken token;
  int token_count = 0;
  bool truncated = false;
  std::string etag;  // of what was written, except by a batch
  // Whether a batch upsert took more than one attempt. The server answers a repeat as it did the
  // first time; but if it restarted in between, ALREADY_EXISTS may be the batch's own doing.
  bool repeated = false;
};

struct DocumentPage {
  std::vector<Document> documents;
  std::string next_page_token;  // empty after the last page
};

// One term of a weighted sum.
struct QueryTerm {
  static QueryTerm Text(std::string text, float weight = 1);
  static QueryTerm Vector(std::vector<float> vector, float weight = 1);
  static QueryTerm DocumentId(std::string id, float weight = 1);
  enum class Kind { kText, kVector, kDocumentId } kind = Kind::kText;
  std::string text_or_id;
  std::vector<float> vector;
  float weight = 1;  // not 0
};

struct Query {
  // Exactly one kind: a text, a vector, the id of a stored document, or a sum of up to 100 of these
  // such as king - man + woman, or words, which rank by BM25 over texts. Documents that are terms
  // are no hits, unless include_term_documents.
  static Query Text(std::string text);
  static Query Vector(std::vector<float> vector);
  static Query DocumentId(std::string id);
  static Query Expression(std::vector<QueryTerm> terms, bool include_term_documents = false);
  static Query Words(std::string text);
  enum class Kind { kText, kVector, kDocumentId, kExpression, kWords } kind = Kind::kText;
  std::string text_or_id;
  std::vector<float> vector;
  std::vector<QueryTerm> terms;
  bool include_term_documents = false;
};

// Groups of hits that have a metadata field in common: top_k counts groups then.
struct GroupBy {
  std::string field;   // a path by dots, such as "author.name"
  int group_size = 1;  // most hits of a group
};

// Hits that differ from each other (maximal marginal relevance). Not of a search for words alone.
struct Diversify {
  float lambda = 0.5f;  // 0: only difference, to 1: only nearness to the query
  int candidates = 0;   // hits to choose from; 0: five times top_k
};

// How a ranking by meaning and one by words become one.
enum class FusionMethod { kRrf, kWeightedScores };
struct HybridQuery {
  std::string text;           // looked for by meaning and by words
  std::vector<float> vector;  // not empty: instead of the text's meaning
  std::string words;          // not empty: instead of the text's words
  FusionMethod fusion = FusionMethod::kRrf;
  // 0 or more, not both 0. Unset: the server's default.
  std::optional<float> dense_weight, lexical_weight;
  int rank_constant = 0;  // of kRrf; 0: the server's default
  int candidates = 0;     // hits to take of each ranking; 0: the server's default
};

// A stage behind a search: a reranker scores the best hits against the query's text, and they come
// by its score. Hits that are not scored keep their order behind those that are.
struct Reranking {
  std::string model;                    // name without `models/`; empty: the server's only reranker
  int candidates = 0;                   // hits to score; 0: the server's, at least 50
  std::chrono::milliseconds budget{0};  // how long it may take; 0: no limit
  std::string query;                    // instead of the query's text, which others have not
};

// What reranking did.
struct Reranked {
  std::string model;
  int pairs = 0;            // scored
  int truncated_pairs = 0;  // of these cut to the model's window
  bool complete = false;    // false: the budget ran out
};

struct SearchOptions {
  int top_k = 10;
  ReadMask read_mask;
  std::vector<WriteToken> write_tokens;
  Truncate truncate = Truncate::kAuto;
  // How hard to look: by a recall target, or by the index' own parameters. All 0: as the collection
  // says.
  double recall_target = 0;            // above 0, at most 1
  bool exact = false;                  // compare every document
  int nprobe = 0;                      // lists to scan
  int ef_search = 0;                   // breadth of a graph search
  int rerank = 0;                      // candidates scored again
  std::string filter;                  // docs/filters.md; empty: every document
  std::optional<float> min_score;      // only hits with this score or a better one
  std::optional<GroupBy> group_by;     // not with the two below
  std::optional<Diversify> diversify;  // not with page_token
  // next_page_token of the page before, the rest being the same: the hits behind it.
  std::string page_token;
  std::optional<Reranking> reranking;  // not with group_by, diversify or page_token
  bool explain = false;                // tell how it was answered
  bool verify = false;  // and run it again exactly, which takes long, and tell its true recall
};

// How often the values of one metadata field occur.
struct Facet {
  std::string field;
  struct Value {
    std::string json;  // a string, number or boolean, as JSON text
    int64_t count = 0;
  };
  std::vector<Value> values;    // most frequent first
  int64_t distinct_values = 0;  // those beyond the limit included
  int64_t documents = 0;        // that have the field with a value other than null
};

struct SearchHit {
  Document document;
  float score = 0;
  // With group_by: what its group has in common, as JSON text; empty where the document has
  // nothing.
  std::string group_json;
  // Of a hybrid search: its scores in the two rankings, where it was among their candidates.
  std::optional<float> dense_score, lexical_score;
  std::optional<float> rerank_score;  // where it was scored by a reranker
  std::optional<Passage> passage;     // of a collection with chunking: the best one
};

// What a search looked at, over all shards.
struct SearchEffort {
  int effective_nprobe = 0;   // lists scanned of a shard's index, the mean
  int effective_ef = 0;       // breadth of the graph search, the greatest
  int64_t rows_scanned = 0;   // compared by codes or vectors
  int64_t rows_rescored = 0;  // of these, by full vectors after that
  double expected_recall = 0;
  bool exact = false;  // every document that may be found was compared
  // Why there are fewer hits than were asked for: `no_more_documents`, `parameters` (the caller's
  // own), `candidates`; empty: there are as many.
  std::string shortfall_reason;
};

// How a search was answered.
struct SearchExplanation {
  struct Shard {
    int shard = 0;
    std::string plan;  // in words
    int nprobe = 0, nlist = 0, ef = 0;
    int64_t rows_scanned = 0, rows_reranked = 0, rows_rescored = 0;
    int64_t passing_rows = 0;  // that may be found
    double expected_recall = 0;
  };
  struct Stage {
    std::string stage;
    std::chrono::microseconds time{0};
  };
  std::vector<Shard> shards;
  double selectivity = 1;    // share of the documents that the filter lets pass
  double recall_target = 0;  // 0: exact, or the caller's own parameters
  std::vector<Stage> stages;
  std::optional<double> verified_recall;  // with verify
};

struct SearchResponse {
  std::vector<SearchHit> hits;      // best first
  Metric metric = Metric::kCosine;  // says nothing of a search for words
  bool higher_is_better = true;
  int query_token_count = 0;
  bool query_truncated = false;
  std::chrono::microseconds embed_time{0}, search_time{0}, fetch_time{0}, rerank_time{0};
  std::optional<Reranked> reranked;
  std::string next_page_token;  // empty when nothing follows
  SearchEffort effort;
  std::optional<SearchExplanation> explanation;  // with explain
};

struct SearchCall {
  Query query;
  SearchOptions options;
};

struct AnswerOptions {
  int top_k = 5;                // sources to look for
  std::string filter;           // see docs/filters.md
  std::string prompt_template;  // with {sources} and {question}; empty: the server's
  int prompt_token_budget = 0;  // 0: the server's, 3,000
  int max_answer_tokens = 0;    // 0: the server's
  std::optional<float> temperature;
  bool return_prompt = false;          // also when the server has a generator
  bool hybrid = false;                 // search for words, too
  std::optional<Reranking> reranking;  // of what was found
};

struct AnswerEnd {
  std::string finish_reason;  // the generator's, such as "stop"; empty without one
  Status generator_status;    // why there is no answer, or only a part of one
  std::string generator_model;
  int prompt_token_count = 0;
};

// Takes what Answer sends: Sources once, then with reranking Reranked, then the prompt when it was
// asked for or the server has no generator, then the pieces of the answer as they are made, all on
// the caller's thread. An error ends the call and is its result.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // In the prompt the first is [1]. left_out: found, but not in the prompt.
  virtual Status Sources(const std::vector<SearchHit>& sources, int left_out) = 0;
  // What reranking did to them; only where AnswerOptions ask for it.
  virtual Status Reranked(const vecino::Reranked& reranked);
  virtual Status Prompt(const std::string& prompt) = 0;
  virtual Status Answer(const std::string& piece) = 0;
};

struct Embedding {
  std::vector<float> vector;
  int token_count = 0;
  bool truncated = false;
};

struct RerankedText {
  float score = 0;  // higher is more relevant
  int token_count = 0;
  bool truncated = false;
};

// Where the time of an Embed went in the server: making tokens, waiting for the model until the
// last text's turn came, and the batches the texts were in, summed. What its cache knew counts as
// zero.
struct EmbedTimings {
  std::chrono::microseconds tokenize{0}, queue{0}, compute{0};
};

struct Model {
  std::string name;
  int dimension = 0, max_tokens = 0;  // a reranker's dimension is 0
  std::string task;                   // "embed" or "rerank"; "unknown" from a newer server
  std::string activation;             // of a reranker: "sigmoid" or "identity"
  std::string pooling;
  bool normalize = false;
  std::string precision, hash, query_prompt, document_prompt;
  std::map<std::string, std::string> prompts;  // by name; those two as `query` and `document`
  std::vector<int> matryoshka;                 // fewer dimensions a collection may have
};

struct ServerStatus {
  std::string version, data_dir, cpu;
  std::chrono::system_clock::time_point start_time;
  std::chrono::microseconds load_duration{0};
  int64_t collections = 0, documents = 0, queued_requests = 0, queue_capacity = 0,
          encoder_queued_tokens = 0, encoder_queue_capacity_tokens = 0, resident_bytes = 0;
  int workers = 0, encoder_executors = 0;
};

}  // namespace vecino
