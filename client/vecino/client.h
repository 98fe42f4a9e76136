// Vecino's C++ client: plain values over one gRPC channel. No proto or gRPC type is in this header.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

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

enum class Metric { kCosine, kDot, kL2 };
enum class InputType { kDocument, kQuery };
enum class Truncate { kAuto, kError };

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

struct Collection {
  std::string id;
  int dimension = 0;  // 0 on creation: the model's
  Metric metric = Metric::kCosine;
  std::string model;  // name without `models/`; empty: vectors only
  std::string model_hash;
  int shard_count = 0;  // 0 on creation: the server's default, 2
  // "auto", "flat", "ivf-flat", "ivf-sq8", "ivf-pq", "hnsw" or "lsh"; empty on creation: "auto".
  std::string index_kind;
  double recall_target = 0;  // of searches that name none; 0 on creation: the server's, 0.95
  IndexParameters index_parameters;
  std::string etag;
  std::chrono::system_clock::time_point create_time;
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
  int nlist = 0;
  int nprobe = 0;        // lists that reach the recall target for 10 documents, measured
  double imbalance = 0;  // of the lists: 1 when all are alike
  std::chrono::system_clock::time_point train_time;
};

struct ShardStats {
  int shard = 0;
  int64_t live_documents = 0, last_sequence_number = 0, tail_rows = 0;
  int segments = 0;
  int64_t deleted_rows = 0, tail_bytes = 0;
  SegmentMemory memory;  // of its segments
  std::vector<SegmentStats> segment_stats;
  std::optional<GenerationStats> generation;  // the newest
  std::string last_choice;                    // what maintenance did last, and why
};

struct CollectionStats {
  int64_t live_documents = 0, deleted_rows = 0, tail_rows = 0, tail_bytes = 0, segment_bytes = 0;
  int segments = 0;
  SegmentMemory memory;  // of the segments; its parts but `mapped` add up to segment_bytes
  std::vector<ShardStats> shards;
};

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
  // "drain", "merge", "retrain", "calibrate", "graph", "failure", "collection created", "collection
  // deleted", "alias changed", "operation started", "operation ended"; "unknown" from a newer
  // server.
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
};

// Good to a factor of two.
struct OperationEstimate {
  int64_t rows = 0, deleted_rows = 0;
  std::chrono::microseconds duration{0};
  int64_t peak_bytes = 0;   // while it runs, beside what is there
  int64_t index_bytes = 0;  // of what it makes
};

struct Operation {
  enum class Type { kRetrain, kCompact };
  std::string id;  // empty: nothing was started
  std::string collection;
  Type type = Type::kRetrain;
  std::chrono::system_clock::time_point create_time, end_time;  // end: the epoch until it is done
  bool done = false, cancel_requested = false;
  Status status;  // when done
  std::vector<OperationShard> shards;
  std::optional<OperationEstimate> estimate;  // with validate_only
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

// Takes what ExportIndex sends: Begin once, then the file's bytes in order, then the document ids
// in order of FAISS's ids (0, 1, …), all on the caller's thread. An error ends the call and is its
// result.
class IndexExportSink {
 public:
  virtual ~IndexExportSink() = default;
  virtual Status Begin(const IndexExportInfo& info) = 0;
  virtual Status IndexData(std::string_view bytes) = 0;
  virtual Status DocumentIds(const std::vector<std::string>& ids) = 0;
};

struct Document {
  std::string id;
  std::string text;
  std::string metadata_json;  // one JSON object, or empty
  std::vector<float> vector;  // empty: made from the text, or not asked for
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
  bool text = true, metadata = true, vector = false;
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
  // Whether a batch took more than one attempt: then ALREADY_EXISTS may be its own doing.
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

// Hits that differ from each other (maximal marginal relevance).
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
};

struct SearchResponse {
  std::vector<SearchHit> hits;      // best first
  Metric metric = Metric::kCosine;  // says nothing of a search for words
  bool higher_is_better = true;
  int query_token_count = 0;
  bool query_truncated = false;
  std::chrono::microseconds embed_time{0}, search_time{0}, fetch_time{0};
  std::string next_page_token;  // empty when nothing follows
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
  bool return_prompt = false;  // also when the server has a generator
  bool hybrid = false;         // search for words, too
};

struct AnswerEnd {
  std::string finish_reason;  // the generator's, such as "stop"; empty without one
  Status generator_status;    // why there is no answer, or only a part of one
  std::string generator_model;
  int prompt_token_count = 0;
};

// Takes what Answer sends: Sources once, then the prompt when it was asked for or the server has no
// generator, then the pieces of the answer as they are made, all on the caller's thread. An error
// ends the call and is its result.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // In the prompt the first is [1]. left_out: found, but not in the prompt.
  virtual Status Sources(const std::vector<SearchHit>& sources, int left_out) = 0;
  virtual Status Prompt(const std::string& prompt) = 0;
  virtual Status Answer(const std::string& piece) = 0;
};

struct Embedding {
  std::vector<float> vector;
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
  int dimension = 0, max_tokens = 0;
  std::string pooling;
  bool normalize = false;
  std::string precision, hash, query_prompt, document_prompt;
  std::vector<int> matryoshka;  // fewer dimensions a collection may have
};

struct ServerStatus {
  std::string version, data_dir, cpu;
  std::chrono::system_clock::time_point start_time;
  std::chrono::microseconds load_duration{0};
  int64_t collections = 0, documents = 0, queued_requests = 0, queue_capacity = 0,
          encoder_queued_tokens = 0, encoder_queue_capacity_tokens = 0, resident_bytes = 0;
  int workers = 0, encoder_executors = 0;
};

struct ClientOptions {
  std::string server = "127.0.0.1:7700";
  std::chrono::milliseconds timeout{30'000};  // deadline of each call, all its attempts together
  // Retries on UNAVAILABLE (and on RESOURCE_EXHAUSTED when the server says when to come back), with
  // exponential backoff and full jitter between these bounds. Every call here is safe to repeat.
  int max_attempts = 5;
  std::chrono::milliseconds initial_backoff{50};
  std::chrono::milliseconds max_backoff{2'000};
};

class Ingest;  // vecino/ingest.h

// Thread safety: all methods are safe from any thread at once and block until the reply, the
// deadline, or the last attempt. None throws.
class Client {
 public:
  // Does not connect yet; the first call does.
  explicit Client(ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Blocks until a server answers and its health is SERVING (a server without the health service
  // need only answer); UNAVAILABLE with the reason after `timeout`.
  Status WaitForReady(std::chrono::milliseconds timeout);
  // grpc.health.v1 for `service` ("" is the server as a whole): "SERVING", "NOT_SERVING",
  // "SERVICE_UNKNOWN".
  Result<std::string> Health(const std::string& service = "");
  Result<ServerStatus> GetServerStatus();

  Result<Collection> CreateCollection(const Collection& collection, bool validate_only = false);
  Result<Collection> GetCollection(const std::string& id);
  // All of them, through as many pages as it takes.
  Result<std::vector<Collection>> ListCollections();
  Status DeleteCollection(const std::string& id, const std::string& etag = {});
  Result<CollectionStats> GetCollectionStats(const std::string& id);

  // ALREADY_EXISTS when an alias or a collection has the id, NOT_FOUND when there is no such
  // target.
  Result<Alias> CreateAlias(const std::string& id, const std::string& target);
  // Points it elsewhere, at once for all callers. expected_target: only if it points there now
  // (ABORTED otherwise); empty: in any case. allow_missing: created if it does not exist.
  Result<Alias> UpdateAlias(const std::string& id, const std::string& target,
                            const std::string& expected_target = {}, bool allow_missing = false);
  Result<Alias> GetAlias(const std::string& id);
  // All of them, in order of id.
  Result<std::vector<Alias>> ListAliases();
  // The collection stays. NOT_FOUND; OK when it is gone after more than one attempt.
  Status DeleteAlias(const std::string& id);

  // Gives `take` what happens from now on, in one collection or, with an empty id, in all, until it
  // returns an error or the call ends. Not tried again, and without a deadline: the client's
  // timeout is not for it.
  Status WatchEvents(const std::string& collection, const EventFn& take);

  // Retrain: new centroids and codebooks from the rows that are there now, and all rows encoded
  // anew. Compact: the segments of each shard become one, without deleted rows. Both run in the
  // background; the operation that is returned runs already when one of the same kind over the same
  // shards did. shards: empty for all. validate_only: the estimate, and nothing is started.
  Result<Operation> RetrainIndex(const std::string& collection, const std::vector<int>& shards = {},
                                 bool validate_only = false);
  Result<Operation> CompactIndex(const std::string& collection, const std::vector<int>& shards = {},
                                 bool validate_only = false);
  // The server keeps the last 256 operations that are done, over restarts too; others: NOT_FOUND.
  // One that was cut short by a restart is done, with ABORTED.
  Result<Operation> GetOperation(const std::string& collection, const std::string& id);
  // In order of creation, through as many pages as it takes.
  Result<std::vector<Operation>> ListOperations(const std::string& collection);
  // How it stands when it is done or after `timeout` (at most 30 s, and the client's own),
  // whichever is first; call again until it is done.
  Result<Operation> WaitOperation(const std::string& collection, const std::string& id,
                                  std::chrono::milliseconds timeout);
  // Asks it to stop, which takes a moment. OK also when it is done.
  Status CancelOperation(const std::string& collection, const std::string& id);
  // Forgets it. FAILED_PRECONDITION while it runs.
  Status DeleteOperation(const std::string& collection, const std::string& id);

  // One shard's index as a file that stock FAISS opens, and the ids of its rows. OK only when the
  // sink got all of it. The server makes the index before anything is sent, which can take minutes,
  // and the client's timeout is for the whole call. Tried again only before Begin. vectors: false
  // leaves the full vectors out where the kind does without. RESOURCE_EXHAUSTED while another
  // export of the collection runs.
  Status ExportIndex(const std::string& collection, int shard, bool vectors, IndexExportSink& sink);

  // One document. INVALID_ARGUMENT without a call when a string is not UTF-8 or the metadata is no
  // JSON object; so in every method below.
  Result<WriteResult> Upsert(const std::string& collection, const Document& document,
                             Truncate truncate = Truncate::kAuto);
  // ALREADY_EXISTS when there is one of its id; after a lost connection that may be this very one.
  Result<WriteResult> Create(const std::string& collection, const Document& document,
                             Truncate truncate = Truncate::kAuto);
  // Changes the fields that `fields` names: "text", "metadata", "metadata.FIELD" (dots lead into
  // objects), "vector", "expire_time" (then expire_time or ttl holds). The others stay; one that is
  // named and not in `document` is cleared. NOT_FOUND when it does not exist, unless allow_missing.
  // INVALID_ARGUMENT when `fields` is empty.
  Result<WriteResult> Update(const std::string& collection, const Document& document,
                             const std::vector<std::string>& fields, bool allow_missing = false,
                             Truncate truncate = Truncate::kAuto);
  // At most 1,000 documents; one result each, in order. An error of one never stops the others: it
  // is in its result's status. The call itself fails only when nothing was judged.
  Result<std::vector<WriteResult>> UpsertBatch(const std::string& collection,
                                               const std::vector<Document>& documents,
                                               Truncate truncate = Truncate::kAuto,
                                               WriteMode mode = WriteMode::kUpsert);
  Result<Document> Get(const std::string& collection, const std::string& id,
                       const ReadMask& mask = {});
  // At most 1,000 ids; nullopt where one does not exist.
  Result<std::vector<std::optional<Document>>> GetBatch(const std::string& collection,
                                                        const std::vector<std::string>& ids,
                                                        const ReadMask& mask = {});
  // NOT_FOUND when it does not exist; OK when it is gone after more than one attempt. etag: not
  // empty: ABORTED when it is not the current one.
  Status Delete(const std::string& collection, const std::string& id, const std::string& etag = {});
  // At most 1,000 ids; one result each, in order: NOT_FOUND where there was nothing to delete.
  Result<std::vector<WriteResult>> DeleteBatch(const std::string& collection,
                                               const std::vector<std::string>& ids);
  Result<DocumentPage> List(const std::string& collection, int page_size,
                            const std::string& page_token = {}, const ReadMask& mask = {},
                            const std::string& filter = {});
  // filter: docs/filters.md; empty: every document. So above and below.
  Result<int64_t> Count(const std::string& collection, const std::string& filter = {});
  // How often the values of metadata fields (1 to 16) occur, the most frequent `limit` of each.
  Result<std::vector<Facet>> CountValues(const std::string& collection,
                                         const std::vector<std::string>& fields,
                                         const std::string& filter = {}, int limit = 10);
  // Every document there is at the moment of the call, by shard, then id. The client's timeout is
  // for each message. When the connection breaks or the server restarts the stream is taken up
  // behind what came, for as long as the timeout without a message: see StreamOptions::on_resume.
  Status StreamDocuments(const std::string& collection, const StreamOptions& options,
                         const DocumentsFn& take);

  Result<SearchResponse> Search(const std::string& collection, const Query& query,
                                const SearchOptions& options = {});
  // At most 100 searches in one call; what each becomes, in order. Their texts are embedded
  // together. A search that fails does not stop the others.
  Result<std::vector<Result<SearchResponse>>> SearchBatch(const std::string& collection,
                                                          const std::vector<SearchCall>& calls);

  // A search for meaning and one for words, merged. Of `options` top_k, read_mask, write_tokens and
  // truncate; INVALID_ARGUMENT when another is set.
  Result<SearchResponse> HybridSearch(const std::string& collection, const HybridQuery& query,
                                      const SearchOptions& options = {});

  // Finds what a question is about and has the server's generator answer it, if it has one. OK also
  // when the generator failed: that is in the result. The client's timeout is for the whole call.
  // Tried again only before Sources.
  Result<AnswerEnd> Answer(const std::string& collection, const std::string& question,
                           const AnswerOptions& options, AnswerSink& sink);

  // timings: filled on success, may be null.
  Result<std::vector<Embedding>> Embed(const std::string& model,
                                       const std::vector<std::string>& texts,
                                       InputType input_type = InputType::kDocument,
                                       Truncate truncate = Truncate::kAuto,
                                       EmbedTimings* timings = nullptr);
  Result<std::vector<Model>> ListModels();

 private:
  friend class Ingest;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vecino
