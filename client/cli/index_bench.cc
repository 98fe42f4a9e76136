#include "client/cli/index_bench.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "client/cli/format.h"

namespace vecino::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Vectors = std::vector<std::vector<float>>;

constexpr int kPageSize = 1'000;
constexpr size_t kMaxBatchDocuments = 1'000;        // the server's limit
constexpr size_t kMaxBatchBytes = size_t{2} << 20;  // well under the server's 16 MiB
constexpr int kWarmUpQueries = 20;
// AUTO stays exact up to here (the server's policy); asking it to train would measure what a
// collection of this size never has.
constexpr size_t kAutoExactRows = 10'000;
// More effort cannot show more.
constexpr double kPerfectRecall = 0.9999;

struct Effort {
  std::string name;
  SearchOptions options;
};

std::vector<Effort> EffortsOf(const std::string& kind, int top_k) {
  SearchOptions options;
  options.top_k = top_k;
  options.read_mask = {.text = false, .metadata = false, .vector = false};
  std::vector<Effort> efforts;
  if (kind == "auto") {
    for (const int percent : {80, 90, 95, 98, 99}) {
      options.recall_target = percent / 100.0;
      efforts.push_back({"recall ." + std::to_string(percent), options});
    }
  } else if (kind.starts_with("ivf-")) {
    for (const int nprobe : {1, 2, 4, 8, 16, 32, 64, 128}) {
      options.nprobe = nprobe;
      efforts.push_back({"nprobe " + std::to_string(nprobe), options});
    }
  } else if (kind == "hnsw") {
    // Narrower than what it is to find makes no sense; 4,096 is the server's limit.
    int ef = std::max(10, top_k);
    for (int i = 0; i < 7 && ef <= 4'096; ++i, ef *= 2) {
      options.ef_search = ef;
      efforts.push_back({"ef " + std::to_string(ef), options});
    }
  } else {
    efforts.push_back({"default", options});
  }
  return efforts;
}

class Bench {
 public:
  Bench(Client& client, const BenchOptions& options, const std::atomic<bool>& interrupted,
        const std::function<void(const std::string&)>& say)
      : client_(client), options_(options), interrupted_(interrupted), say_(say) {}

  BenchReport Run() {
    report_.status = Measure();
    if (interrupted_.load()) {
      report_.interrupted = true;
      report_.status = Status();
    }
    return std::move(report_);
  }

 private:
  std::string NameOf(const std::string& kind) const {
    return options_.collection + "-bench-" + kind;
  }

  Status Failed(std::string what, Status status) {
    report_.failed = std::move(what);
    return status;
  }

  Status Stopped() const {
    return interrupted_.load() ? Status(Code::kCancelled, "interrupted") : Status();
  }

  Status Measure() {
    const Result<Collection> source = client_.GetCollection(options_.collection);
    if (!source.ok()) return Failed("bench " + options_.collection, source.status());
    source_ = source.value();
    if (Status status = NothingInTheWay(); !status.ok()) return status;
    if (Status status = ReadVectors(); !status.ok()) return status;
    for (const std::string& kind : options_.kinds) {
      if (Status status = Stopped(); !status.ok()) return status;
      const Status status = MeasureAndDelete(kind);
      if (!status.ok()) return status;
    }
    return Status();
  }

  Status NothingInTheWay() {
    for (const std::string& kind : options_.kinds) {
      const Result<Collection> there = client_.GetCollection(NameOf(kind));
      if (there.ok()) {
        return Failed("bench " + options_.collection,
                      Status(Code::kAlreadyExists, "collection " + NameOf(kind) +
                                                       " is there already, perhaps of another run; "
                                                       "if it is not needed: vecino collection "
                                                       "delete " +
                                                       NameOf(kind)));
      }
      if (there.status().code() != Code::kNotFound) {
        return Failed("look for " + NameOf(kind), there.status());
      }
    }
    return Status();
  }

  // The first rows as listed; every so many of them a query.
  Status ReadVectors() {
    say_("reading the vectors of " + options_.collection);
    Vectors vectors;
    std::string token;
    const ReadMask mask{.text = false, .metadata = false, .vector = true};
    const auto rows = static_cast<size_t>(options_.rows);
    do {
      if (Status status = Stopped(); !status.ok()) return status;
      Result<DocumentPage> page = client_.List(options_.collection, kPageSize, token, mask);
      if (!page.ok()) return Failed("list " + options_.collection, page.status());
      for (Document& document : page->documents) {
        if (vectors.size() < rows) vectors.push_back(std::move(document.vector));
      }
      token = page->next_page_token;
    } while (!token.empty() && vectors.size() < rows);

    const auto queries = static_cast<size_t>(options_.queries);
    const size_t need = queries + static_cast<size_t>(std::max(kMinBenchDocuments, options_.top_k));
    if (vectors.size() <= need) {
      const std::string have = vectors.size() == rows
                                   ? "--rows " + WithCommas(options_.rows) + " is too few"
                                   : "the collection is too small with " +
                                         WithCommas(static_cast<int64_t>(vectors.size())) +
                                         " documents";
      return Failed("bench " + options_.collection,
                    Status(Code::kFailedPrecondition,
                           have + ": " + WithCommas(options_.queries) + " queries need more than " +
                               WithCommas(static_cast<int64_t>(need)) +
                               "; lower --queries or bring in more documents"));
    }
    size_t next = 0;
    for (size_t i = 0; i < vectors.size(); ++i) {
      const bool query = next < queries && i == next * vectors.size() / queries;
      if (query) ++next;
      (query ? queries_ : rows_).push_back(std::move(vectors[i]));
    }
    report_.rows = static_cast<int>(rows_.size());
    report_.queries = static_cast<int>(queries_.size());
    return Status();
  }

  Status MeasureAndDelete(const std::string& kind) {
    const std::string name = NameOf(kind);
    Collection collection;
    collection.id = name;
    collection.dimension = source_.dimension;
    collection.metric = source_.metric;
    collection.shard_count = 1;
    collection.index_kind = kind;
    if (kind == source_.index_kind) collection.index_parameters = source_.index_parameters;
    say_("making " + name);
    const Result<Collection> created = client_.CreateCollection(collection);
    if (!created.ok()) return Failed("create " + name, created.status());
    const Status measured = MeasureKind(kind);
    if (options_.keep) return measured;
    const Status deleted = client_.DeleteCollection(name);
    if (!deleted.ok() && deleted.code() != Code::kNotFound) {
      report_.cleanup = deleted;
      report_.left = name;
      return measured.ok() ? Failed("delete " + name, deleted) : measured;
    }
    return measured;
  }

  Status MeasureKind(const std::string& kind) {
    BenchKind result;
    result.kind = kind;
    const std::string name = NameOf(kind);
    const Clock::time_point start = Clock::now();
    if (Status status = Write(name); !status.ok()) return status;
    const Clock::time_point written = Clock::now();
    result.upsert_time = written - start;
    const bool train = kind == "auto" && rows_.size() > kAutoExactRows;
    if (Status status = Index(name, train); !status.ok()) return status;
    result.build_time = Clock::now() - written;

    const Result<CollectionStats> stats = client_.GetCollectionStats(name);
    if (!stats.ok()) return Failed("get the figures of " + name, stats.status());
    const auto rows = static_cast<double>(rows_.size());
    result.code_bytes = static_cast<double>(stats->memory.codes) / rows;
    result.memory_bytes = static_cast<double>(stats->segment_bytes + stats->tail_bytes) / rows;
    std::set<std::string> segments;
    for (const ShardStats& shard : stats->shards) {
      for (const SegmentStats& segment : shard.segment_stats) segments.insert(segment.kind);
      if (shard.tail_rows > 0) segments.insert("TAIL");
    }
    for (const std::string& segment : segments) {
      result.segments += (result.segments.empty() ? "" : ", ") + segment;
    }
    if (Status status = FindTruth(name); !status.ok()) return status;
    say_("searching " + name);
    for (const Effort& effort : EffortsOf(kind, options_.top_k)) {
      Result<BenchPoint> point = MeasurePoint(name, effort);
      if (!point.ok()) return point.status();
      result.points.push_back(std::move(point).value());
      if (result.points.back().recall >= kPerfectRecall) break;
    }
    report_.kinds.push_back(std::move(result));
    return Status();
  }

  Status Write(const std::string& name) {
    const size_t row_bytes = static_cast<size_t>(source_.dimension) * sizeof(float) + 64;
    const size_t batch = std::clamp(kMaxBatchBytes / row_bytes, size_t{1}, kMaxBatchDocuments);
    for (size_t first = 0; first < rows_.size(); first += batch) {
      if (Status status = Stopped(); !status.ok()) return status;
      std::vector<Document> documents;
      for (size_t i = first; i < std::min(first + batch, rows_.size()); ++i) {
        documents.emplace_back();
        documents.back().id = std::to_string(i);
        documents.back().vector = rows_[i];
      }
      const Result<std::vector<WriteResult>> written = client_.UpsertBatch(name, documents);
      if (!written.ok()) return Failed("write to " + name, written.status());
      for (const WriteResult& result : *written) {
        if (!result.status.ok()) return Failed("write to " + name, result.status);
      }
    }
    return Status();
  }

  Status Index(const std::string& name, bool train) {
    say_("indexing " + name);
    Result<Operation> operation = train ? client_.RetrainIndex(name) : client_.CompactIndex(name);
    while (true) {
      if (!operation.ok()) return Failed("index " + name, operation.status());
      if (operation->done) break;
      if (Status status = Stopped(); !status.ok()) return status;
      operation = client_.WaitOperation(name, operation->id, std::chrono::milliseconds(500));
    }
    if (!operation->status.ok()) return Failed("index " + name, operation->status);
    return Status();
  }

  // Once: every temporary collection holds the same rows.
  Status FindTruth(const std::string& name) {
    if (!truth_.empty()) return Status();
    say_("searching " + name + " exactly");
    SearchOptions options;
    options.top_k = options_.top_k;
    options.exact = true;
    options.read_mask = {.text = false, .metadata = false, .vector = false};
    std::vector<SearchResponse> truth;
    for (const std::vector<float>& query : queries_) {
      if (Status status = Stopped(); !status.ok()) return status;
      Result<SearchResponse> found = client_.Search(name, Query::Vector(query), options);
      if (!found.ok()) return Failed("search " + name, found.status());
      truth.push_back(std::move(found).value());
    }
    truth_ = std::move(truth);
    return Status();
  }

  Result<BenchPoint> MeasurePoint(const std::string& name, const Effort& effort) {
    BenchPoint point;
    point.setting = effort.name;
    for (size_t i = 0; i < std::min<size_t>(kWarmUpQueries, queries_.size()); ++i) {
      const Result<SearchResponse> found =
          client_.Search(name, Query::Vector(queries_[i]), effort.options);
      if (!found.ok()) return Failed("search " + name, found.status());
    }
    std::vector<Query> queries;
    for (const std::vector<float>& query : queries_) queries.push_back(Query::Vector(query));
    std::vector<SearchResponse> responses;
    std::vector<std::chrono::duration<double>> times;
    std::chrono::duration<double> total{0};
    for (const Query& query : queries) {
      if (Status status = Stopped(); !status.ok()) return status;
      const Clock::time_point start = Clock::now();
      Result<SearchResponse> found = client_.Search(name, query, effort.options);
      times.push_back(Clock::now() - start);
      total += times.back();
      if (!found.ok()) return Failed("search " + name, found.status());
      responses.push_back(std::move(found).value());
    }
    for (size_t i = 0; i < responses.size(); ++i) point.recall += RecallOf(responses[i], truth_[i]);
    const auto count = static_cast<double>(responses.size());
    point.recall /= count;
    point.qps = count / total.count();
    std::sort(times.begin(), times.end());
    point.p50 = times[(times.size() - 1) / 2];
    point.p99 = times[(times.size() - 1) * 99 / 100];
    return point;
  }

  Client& client_;
  const BenchOptions& options_;
  const std::atomic<bool>& interrupted_;
  const std::function<void(const std::string&)>& say_;
  Collection source_;
  Vectors rows_, queries_;
  std::vector<SearchResponse> truth_;  // of each query
  BenchReport report_;
};

}  // namespace

const std::vector<std::string>& BenchKinds() {
  static const std::vector<std::string> kKinds{"auto",   "flat", "ivf-flat", "ivf-sq8",
                                               "ivf-pq", "hnsw", "lsh"};
  return kKinds;
}

BenchReport RunBench(Client& client, const BenchOptions& options,
                     const std::atomic<bool>& interrupted,
                     const std::function<void(const std::string&)>& say) {
  return Bench(client, options, interrupted, say).Run();
}

BenchBest BestAt(const std::vector<BenchKind>& kinds, double recall) {
  BenchBest best;
  for (const BenchKind& kind : kinds) {
    for (const BenchPoint& point : kind.points) {
      if (point.recall < recall) continue;
      if (best.point == nullptr || point.qps > best.point->qps) best = {&kind, &point};
    }
  }
  return best;
}

double RecallOf(const SearchResponse& found, const SearchResponse& truth) {
  if (truth.hits.empty()) return 1;
  const float last = truth.hits.back().score;
  const float slack = 1e-6F * std::max(1.0F, std::abs(last));
  const auto good = std::count_if(found.hits.begin(), found.hits.end(), [&](const SearchHit& hit) {
    return truth.higher_is_better ? hit.score >= last - slack : hit.score <= last + slack;
  });
  return static_cast<double>(good) / static_cast<double>(truth.hits.size());
}

}  // namespace vecino::cli
