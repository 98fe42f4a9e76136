#include "tests/bench/server_bench_steps.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace vecino::bench {
namespace {

constexpr char kId[] = "bench";
constexpr std::chrono::minutes kPatience(30);
// As server/engine/maintenance_policy.h has them.
constexpr int64_t kExactRows = 10'000;
constexpr int kMaxSegments = 8;
constexpr double kMaxDeadShare = 0.2;
constexpr double kMaxGrowth = 2.5;
constexpr double kMaxCalibratedGrowth = 1.2;
constexpr int64_t kGraphRows = 50'000;

// What maintenance still has to do; empty: nothing.
std::string Backlog(const v1::CollectionStats& stats, int64_t tail_capacity, bool graph) {
  for (const v1::ShardStats& shard : stats.shards()) {
    if (shard.tail_rows() >= tail_capacity) return "full tails";
    if (shard.segments() > kMaxSegments) return "too many segments";
    const int64_t generation = shard.generation().generation();
    int64_t rows = 0;
    for (const v1::SegmentStats& segment : shard.segment_stats()) {
      rows += segment.rows() - segment.deleted_rows();
      const auto dead = static_cast<double>(segment.deleted_rows());
      if (dead > kMaxDeadShare * static_cast<double>(segment.rows())) return "dead rows";
      if (generation != 0 && segment.generation() != generation) return "stale segments";
      if (graph && segment.rows() >= kGraphRows && segment.kind() != "IVF+GRAPH") return "graphs";
    }
    if (rows > kExactRows && generation == 0) return "the first training";
    if (generation != 0 &&
        static_cast<double>(rows) >
            kMaxGrowth * static_cast<double>(shard.generation().trained_rows())) {
      return "retraining after growth";
    }
    if (generation != 0) {
      const auto now = static_cast<double>(rows);
      const auto then = static_cast<double>(shard.generation().calibrated_rows());
      if (now > kMaxCalibratedGrowth * then || then > kMaxCalibratedGrowth * now) {
        return "calibrating";
      }
    }
  }
  return "";
}

}  // namespace

void Check(const v1::BatchWriteResult& result) {
  if (result.status().code() != 0) throw std::runtime_error(result.status().message());
}

Bench::Bench(const Options& options, const std::string& folder)
    : options_(options),
      base_(options.data + "/base.npy"),
      queries_(options.data + "/queries.npy"),
      server_(options.vecinod, folder, options.server_flags) {
  if (base_.rows() == 0 || queries_.rows() == 0 || base_.columns() != queries_.columns()) {
    throw std::runtime_error("base.npy and queries.npy must hold rows of one length");
  }
  double square = 0;
  for (size_t j = 0; j < base_.columns(); ++j) square += std::pow(base_.row(0)[j], 2);
  if (std::abs(square - 1) > 1e-3) throw std::runtime_error("base.npy must hold unit vectors");
  rows_ = options.rows == 0 ? base_.rows() : std::min(options.rows, base_.rows());
}

void Bench::Run() {
  report_.Add("start.until_serving", server_.Start(), "s");
  Connect();
  const auto has = [&](const char* step) {
    return std::find(options_.steps.begin(), options_.steps.end(), step) != options_.steps.end();
  };
  if (has("ingest")) {
    Ingest();
  } else {
    live_ = List();
    if (live_.empty()) throw std::runtime_error("the store is empty; run the step ingest");
    next_ = live_.back() + 1;
  }
  if (has("search")) Search();
  if (has("churn")) Churn();
  if (has("retrain")) Retrain();
  if (has("restart")) Restart();
}

void Bench::Connect() {
  const auto channel = server_.Connect();
  collections_ = v1::CollectionService::NewStub(channel);
  documents_ = v1::DocumentService::NewStub(channel);
  operations_ = google::longrunning::Operations::NewStub(channel);
}

v1::CollectionStats Bench::Stats() {
  v1::GetCollectionStatsRequest request;
  request.set_name(kName);
  v1::GetCollectionStatsResponse reply;
  Call(*collections_, &v1::CollectionService::Stub::GetCollectionStats, request, &reply);
  return reply.stats();
}

void Bench::WaitIndexed(bool graph) {
  const Clock::time_point begin = Clock::now();
  for (std::string why;; std::this_thread::sleep_for(kPoll)) {
    why = Backlog(Stats(), options_.tail_capacity, graph);
    if (why.empty()) return;
    if (Clock::now() - begin > kPatience) {
      throw std::runtime_error("maintenance is not done after 30 minutes: " + why);
    }
  }
}

void Bench::WaitQuiet() {
  WaitIndexed(options_.graph);
  for (double cpu = server_.CpuSeconds();;) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const double now = server_.CpuSeconds();
    if (now - cpu <= 0.05) return;
    cpu = now;
  }
}

std::vector<int64_t> Bench::List() {
  std::vector<int64_t> numbers;
  v1::ListDocumentsRequest request;
  request.set_parent(kName);
  request.set_page_size(1000);
  request.mutable_read_mask()->add_paths("id");
  do {
    v1::ListDocumentsResponse reply;
    Call(*documents_, &v1::DocumentService::Stub::ListDocuments, request, &reply);
    for (const auto& document : reply.documents()) numbers.push_back(NumberOf(document.id()));
    request.set_page_token(reply.next_page_token());
  } while (!request.page_token().empty());
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

void Bench::Upsert(v1::DocumentService::Stub& stub, int64_t first, int64_t last) const {
  v1::BatchUpsertDocumentsRequest request;
  request.set_parent(kName);
  for (int64_t number = first; number < last; ++number) {
    v1::Document* document = request.add_documents();
    document->set_id(IdOf(number));
    document->mutable_vector()->set_float32_le(
        base_.Bytes(static_cast<size_t>(number) % base_.rows()));
  }
  v1::BatchUpsertDocumentsResponse reply;
  Call(stub, &v1::DocumentService::Stub::BatchUpsertDocuments, request, &reply);
  for (const auto& result : reply.results()) Check(result);
}

Requests Bench::SearchRequests(double target, size_t count) const {
  Requests requests(std::min(count, queries_.rows()));
  for (size_t q = 0; q < requests.size(); ++q) {
    requests[q].set_parent(kName);
    requests[q].mutable_vector()->set_float32_le(queries_.Bytes(q));
    requests[q].set_top_k(options_.top_k);
    requests[q].mutable_read_mask()->add_paths("id");
    if (target > 0) {
      requests[q].set_recall_target(target);
    } else {
      requests[q].mutable_parameters()->set_exact(true);
    }
  }
  return requests;
}

Truth Bench::TruthNow(size_t count) const {
  const auto k = static_cast<size_t>(options_.top_k);
  const bool whole = live_.size() == base_.rows() && live_.back() + 1 == next_ &&
                     next_ == static_cast<int64_t>(base_.rows());
  if (whole) return TruthFromFile(NpyFile(options_.data + "/truth_scores.npy"), k);
  return TruthOf(base_, queries_, count, live_, k);
}

void Bench::AddRecall(const std::string& name) {
  const Truth truth = TruthNow(options_.sample);
  for (const double target : {0.0, options_.recall_targets.front()}) {
    const auto found = SearchOnce(server_, SearchRequests(target, options_.sample));
    report_.Add(name + (target == 0 ? ".recall_exact" : ".recall"),
                Recall(base_, queries_, truth, found), "");
  }
}

void Bench::Ingest() {
  v1::CreateCollectionRequest create;
  create.set_collection_id(kId);
  create.mutable_collection()->set_dimension(static_cast<int32_t>(base_.columns()));
  create.mutable_collection()->set_shard_count(options_.shards);
  create.mutable_collection()->mutable_index_policy()->mutable_parameters()->set_graph(
      options_.graph);
  v1::CreateCollectionResponse created;
  Call(*collections_, &v1::CollectionService::Stub::CreateCollection, create, &created);

  std::vector<std::unique_ptr<v1::DocumentService::Stub>> stubs;
  for (int w = 0; w < options_.writers; ++w) {
    stubs.push_back(v1::DocumentService::NewStub(server_.Connect()));
    v1::CountDocumentsRequest request;  // connects
    request.set_parent(kName);
    v1::CountDocumentsResponse reply;
    Call(*stubs[w], &v1::DocumentService::Stub::CountDocuments, request, &reply);
  }
  const auto rows = static_cast<int64_t>(rows_);
  std::vector<std::vector<double>> times(options_.writers);
  std::atomic<int64_t> next{0};
  const double cpu = server_.CpuSeconds();
  const Clock::time_point begin = Clock::now();
  InThreads(options_.writers, [&](int w) {
    for (int64_t i; (i = next.fetch_add(options_.batch)) < rows;) {
      const Clock::time_point sent = Clock::now();
      Upsert(*stubs[w], i, std::min<int64_t>(rows, i + options_.batch));
      times[w].push_back(1e6 * Seconds(sent));
    }
  });
  const double seconds = Seconds(begin);
  const Clock::time_point written = Clock::now();
  std::vector<double> micros;
  for (const auto& part : times) micros.insert(micros.end(), part.begin(), part.end());
  for (int64_t i = 0; i < rows; ++i) live_.push_back(i);
  next_ = rows;
  report_.Add("ingest.rows", static_cast<double>(rows_), "rows");
  report_.Add("ingest.rate", static_cast<double>(rows_) / seconds, "rows/s");
  report_.AddTimes("ingest.batch", micros);
  WaitIndexed(false);
  report_.Add("ingest.until_indexed", Seconds(written), "s");
  report_.Add("ingest.peak_memory", static_cast<double>(server_.MemoryBytes("VmHWM")), "bytes");
  report_.Add("ingest.server_cpu", server_.CpuSeconds() - cpu, "s");
  WaitQuiet();
  report_.Add("ingest.until_quiet", Seconds(written), "s");
  AddMemory();
}

void Bench::AddMemory() {
  for (const char* line : {"VmHWM", "VmRSS", "RssAnon", "RssFile"}) {
    report_.Add(std::string("ingest.quiet.") + line, static_cast<double>(server_.MemoryBytes(line)),
                "bytes");
  }
  const v1::CollectionStats stats = Stats();
  if (stats.live_documents() != static_cast<int64_t>(rows_)) {
    throw std::runtime_error("documents are missing");
  }
  report_.Add("ingest.segments", stats.segments(), "");
  report_.Add("ingest.tail_rows", static_cast<double>(stats.tail_rows()), "rows");
  const auto in_segments = static_cast<double>(stats.live_documents() - stats.tail_rows());
  const auto per_row = [&](const char* name, int64_t bytes) {
    if (in_segments == 0) return;
    report_.Add(std::string("ingest.segments.") + name, static_cast<double>(bytes) / in_segments,
                "bytes/row");
  };
  const v1::SegmentMemory& memory = stats.segment_memory();
  per_row("codes", memory.code_bytes());
  per_row("rounded", memory.rounded_bytes());
  per_row("labels", memory.label_bytes());
  per_row("vectors", memory.vector_bytes());
}

void Bench::Search() {
  WaitQuiet();
  const Truth truth = TruthNow(queries_.rows());
  for (const double target : options_.recall_targets) {
    const Requests requests = SearchRequests(target, queries_.rows());
    for (const int clients : options_.clients) {
      const ClosedLoop loop = RunClosedLoop(server_, requests, clients, options_.search_seconds);
      char name[64];
      std::snprintf(name, sizeof name, "search.%g.clients%d", target, clients);
      report_.Add(std::string(name) + ".recall", Recall(base_, queries_, truth, loop.found), "");
      report_.Add(std::string(name) + ".qps", loop.qps, "1/s");
      report_.AddTimes(name, loop.micros);
      report_.Add(std::string(name) + ".server_cpu", loop.server_cpu_us, "us/query");
    }
  }
}

void Bench::Restart() {
  AddRecall("restart.before");
  server_.Kill();
  report_.Add("restart.until_serving", server_.Start(), "s");
  Connect();
  AddRecall("restart.after");
  WaitIndexed(options_.graph);
  const std::vector<int64_t> there = List();
  std::vector<int64_t> lost, back;
  std::set_difference(live_.begin(), live_.end(), there.begin(), there.end(),
                      std::back_inserter(lost));
  std::set_difference(there.begin(), there.end(), live_.begin(), live_.end(),
                      std::back_inserter(back));
  report_.Add("restart.documents", static_cast<double>(there.size()), "");
  report_.Add("restart.lost", static_cast<double>(lost.size()), "");
  report_.Add("restart.came_back", static_cast<double>(back.size()), "");
  report_.Add("restart.memory", static_cast<double>(server_.MemoryBytes("VmRSS")), "bytes");
}

}  // namespace vecino::bench
