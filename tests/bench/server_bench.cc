// The real vecinod over gRPC: ingest, search, updates beside searches, retraining, restart.
//
//   server_bench --vecinod PATH --data FOLDER (--rows N) (--steps
//   ingest,search,churn,retrain,restart) (--help)
//
// FOLDER holds base.npy, queries.npy (float32 unit vectors) and truth_scores.npy (the exact scores
// of each query's nearest rows of the base, best first). Client and server share the machine's
// cores. Prints lines `name value unit`; times of searches are microseconds at the client. Steps
// run in the order above; without `ingest`, --store names the folder of an earlier run.
//
// - ingest: ready vectors in batches from several connections, then the time until maintenance has
//   nothing left to do but graphs;
// - search: ids only, closed loop, by recall target and number of clients;
// - churn: searches at half the rate of one quiet client, timed from the moment they were due,
// alone and
//   then beside writers of new and deleters of old documents;
// - retrain: the same beside RetrainIndex;
// - restart: kill -9, start, compare what is there with what was acknowledged.
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "google/longrunning/operations.grpc.pb.h"
#include "tests/bench/server_bench_data.h"
#include "tests/bench/server_bench_load.h"
#include "tests/bench/server_bench_process.h"
#include "vecino/v1/collection_service.grpc.pb.h"
#include "vecino/v1/document_service.grpc.pb.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::bench {
namespace {

constexpr char kId[] = "bench";
constexpr char kName[] = "collections/bench";
constexpr std::chrono::milliseconds kPoll(100);
constexpr std::chrono::minutes kPatience(30);
// As server/engine/maintenance_policy.h has them.
constexpr int64_t kExactRows = 10'000;
constexpr int kMaxSegments = 8;
constexpr double kMaxDeadShare = 0.2;
constexpr double kMaxGrowth = 2.5;
constexpr int64_t kGraphRows = 50'000;

struct Options {
  std::string vecinod, data, store, json;
  std::vector<std::string> steps{"ingest", "search", "churn", "retrain", "restart"}, server_flags;
  std::vector<double> recall_targets{0.95, 0.99};
  std::vector<int> clients{1, 8};
  size_t rows = 0, sample = 200;
  int shards = 2, writers = 4, batch = 500, top_k = 10, open_clients = 4, churn_batch = 100;
  int64_t tail_capacity = 8192;
  double seconds = 60, quiet_seconds = 20, search_seconds = 5, churn_rate = 2000;
  bool graph = false;
};

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

Clock::duration Duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

class Report {
 public:
  void Add(const std::string& name, double value, const std::string& unit) {
    std::printf("%-38s %14.6g %s\n", name.c_str(), value, unit.c_str());
    std::fflush(stdout);
    json_[name] = {{"value", value}, {"unit", unit}};
  }
  void AddTimes(const std::string& name, const std::vector<double>& micros) {
    Add(name + ".p50", Percentile(micros, 0.5), "us");
    Add(name + ".p99", Percentile(micros, 0.99), "us");
    Add(name + ".max", Percentile(micros, 1), "us");
  }
  const nlohmann::ordered_json& json() const { return json_; }

 private:
  nlohmann::ordered_json json_;
};

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
  }
  return "";
}

class Bench {
 public:
  Bench(const Options& options, const std::string& folder)
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

  void Run() {
    server_.Start();
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

  const Report& report() const { return report_; }

 private:
  void Connect() {
    const auto channel = server_.Connect();
    collections_ = v1::CollectionService::NewStub(channel);
    documents_ = v1::DocumentService::NewStub(channel);
    operations_ = google::longrunning::Operations::NewStub(channel);
  }

  v1::CollectionStats Stats() {
    v1::GetCollectionStatsRequest request;
    request.set_name(kName);
    v1::GetCollectionStatsResponse reply;
    Call(*collections_, &v1::CollectionService::Stub::GetCollectionStats, request, &reply);
    return reply.stats();
  }

  // Waits until maintenance has nothing to do; with `graph`, until large segments have theirs too.
  void WaitIndexed(bool graph) {
    const Clock::time_point begin = Clock::now();
    for (std::string why;; std::this_thread::sleep_for(kPoll)) {
      why = Backlog(Stats(), options_.tail_capacity, graph);
      if (why.empty()) return;
      if (Clock::now() - begin > kPatience) {
        throw std::runtime_error("maintenance is not done after 30 minutes: " + why);
      }
    }
  }

  // Waits until the server does nothing any more.
  void WaitQuiet() {
    WaitIndexed(options_.graph);
    for (double cpu = server_.CpuSeconds();;) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      const double now = server_.CpuSeconds();
      if (now - cpu <= 0.05) return;
      cpu = now;
    }
  }

  // Ascending.
  std::vector<int64_t> List() {
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

  // Writes documents [first, last) by one call.
  void Upsert(v1::DocumentService::Stub& stub, int64_t first, int64_t last) const {
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

  static void Check(const v1::BatchWriteResult& result) {
    if (result.status().code() != 0) throw std::runtime_error(result.status().message());
  }

  // The first `count` queries, ids only; target 0: exact.
  Requests SearchRequests(double target, size_t count) const {
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

  // What is right for the documents that are there now.
  Truth TruthNow(size_t count) const {
    const auto k = static_cast<size_t>(options_.top_k);
    const bool whole = live_.size() == base_.rows() && live_.back() + 1 == next_ &&
                       next_ == static_cast<int64_t>(base_.rows());
    if (whole) return TruthFromFile(NpyFile(options_.data + "/truth_scores.npy"), k);
    return TruthOf(base_, queries_, count, live_, k);
  }

  void AddRecall(const std::string& name) {
    const Truth truth = TruthNow(options_.sample);
    for (const double target : {0.0, options_.recall_targets.front()}) {
      const auto found = SearchOnce(server_, SearchRequests(target, options_.sample));
      report_.Add(name + (target == 0 ? ".recall_exact" : ".recall"),
                  Recall(base_, queries_, truth, found), "");
    }
  }

  void Ingest() {
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
    for (const char* line : {"VmHWM", "VmRSS", "RssAnon", "RssFile"}) {
      report_.Add(std::string("ingest.quiet.") + line,
                  static_cast<double>(server_.MemoryBytes(line)), "bytes");
    }
    const v1::CollectionStats stats = Stats();
    if (stats.live_documents() != rows) throw std::runtime_error("documents are missing");
    const v1::SegmentMemory& memory = stats.segment_memory();
    const auto per_row = [&](const char* name, int64_t bytes) {
      report_.Add(std::string("ingest.segments.") + name,
                  static_cast<double>(bytes) / static_cast<double>(rows_), "bytes/row");
    };
    per_row("codes", memory.code_bytes());
    per_row("rounded", memory.rounded_bytes());
    per_row("labels", memory.label_bytes());
    per_row("vectors", memory.vector_bytes());
    report_.Add("ingest.segments", stats.segments(), "");
    report_.Add("ingest.tail_rows", static_cast<double>(stats.tail_rows()), "rows");
  }

  void Search() {
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

  // What searches take at half the rate of one client, with nothing beside them; sets rate_.
  double Quiet(const std::string& name) {
    WaitQuiet();
    const Requests requests = SearchRequests(options_.recall_targets.front(), queries_.rows());
    rate_ = RunClosedLoop(server_, requests, 1, options_.search_seconds).qps / 2;
    std::atomic<bool> stop{false};
    auto loop = std::async(std::launch::async, [&] {
      return RunOpenLoop(server_, requests, rate_, options_.open_clients, stop, nullptr);
    });
    loop.wait_for(Duration(options_.quiet_seconds));
    stop = true;
    const OpenLoop quiet = loop.get();
    report_.Add(name + ".rate", rate_, "1/s");
    report_.Add(name + ".quiet.rate", quiet.rate, "1/s");
    report_.AddTimes(name + ".quiet", quiet.micros);
    return Percentile(quiet.micros, 0.99);
  }

  void Churn() {
    const double quiet_p99 = Quiet("churn");
    AddRecall("churn.before");
    const auto total = static_cast<int64_t>(options_.churn_rate * options_.seconds);
    // When the deletion of a document was acknowledged, in ticks of Clock; 0: it was not.
    std::vector<std::atomic<int64_t>> deleted(static_cast<size_t>(next_ + total));
    std::atomic<int64_t> wrong_hits{0};
    const auto check = [&](Clock::time_point sent, const v1::SearchDocumentsResponse& reply) {
      for (const auto& hit : reply.hits()) {
        const int64_t number = NumberOf(hit.document().id());
        const bool known = number >= 0 && number < static_cast<int64_t>(deleted.size());
        const int64_t when = known ? deleted[number].load() : 1;
        if (when != 0 && when < sent.time_since_epoch().count()) ++wrong_hits;
      }
    };
    const Requests requests = SearchRequests(options_.recall_targets.front(), queries_.rows());
    std::atomic<bool> stop{false};
    auto loop = std::async(std::launch::async, [&] {
      return RunOpenLoop(server_, requests, rate_, options_.open_clients, stop, check);
    });

    std::mt19937_64 chance(1);
    std::vector<double> upserts, deletes;
    const double cpu = server_.CpuSeconds();
    const Clock::time_point begin = Clock::now();
    int64_t done = 0;
    try {
      for (; done < total && Seconds(begin) < 1.5 * options_.seconds;) {
        std::this_thread::sleep_until(begin +
                                      Duration(static_cast<double>(done) / options_.churn_rate));
        const int64_t count = std::min<int64_t>(options_.churn_batch, total - done);
        const Clock::time_point sent = Clock::now();
        Upsert(*documents_, next_, next_ + count);
        upserts.push_back(1e6 * Seconds(sent));
        deletes.push_back(DeleteSome(count, &chance, &deleted));
        for (int64_t i = 0; i < count; ++i) live_.push_back(next_++);
        done += count;
      }
    } catch (...) {
      stop = true;
      throw;
    }
    const double seconds = Seconds(begin);
    stop = true;
    const OpenLoop churn = loop.get();
    std::sort(live_.begin(), live_.end());
    report_.Add("churn.upserts", static_cast<double>(done) / seconds, "rows/s");
    report_.Add("churn.deletes", static_cast<double>(done) / seconds, "rows/s");
    report_.Add("churn.seconds", seconds, "s");
    report_.AddTimes("churn.upsert_batch", upserts);
    report_.AddTimes("churn.delete_batch", deletes);
    report_.Add("churn.search.rate", churn.rate, "1/s");
    report_.AddTimes("churn.search", churn.micros);
    report_.Add("churn.search.p99_over_quiet", Percentile(churn.micros, 0.99) / quiet_p99, "");
    report_.Add("churn.search.deleted_hits", static_cast<double>(wrong_hits), "");
    report_.Add("churn.server_cpu", (server_.CpuSeconds() - cpu) / seconds, "cores");
    report_.Add("churn.segments", Stats().segments(), "");
    AddRecall("churn.after");
    WaitQuiet();
    AddRecall("churn.settled");
  }

  // Deletes `count` random documents by one call; returns its microseconds.
  double DeleteSome(int64_t count, std::mt19937_64* chance,
                    std::vector<std::atomic<int64_t>>* deleted) {
    v1::BatchDeleteDocumentsRequest request;
    request.set_parent(kName);
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < count && !live_.empty(); ++i) {
      std::swap(live_[(*chance)() % live_.size()], live_.back());
      numbers.push_back(live_.back());
      live_.pop_back();
      request.add_ids(IdOf(numbers.back()));
    }
    v1::BatchDeleteDocumentsResponse reply;
    const Clock::time_point sent = Clock::now();
    Call(*documents_, &v1::DocumentService::Stub::BatchDeleteDocuments, request, &reply);
    const double micros = 1e6 * Seconds(sent);
    for (const auto& result : reply.results()) Check(result);
    for (const int64_t number : numbers) {
      (*deleted)[number] = Clock::now().time_since_epoch().count();
    }
    return micros;
  }

  google::longrunning::Operation StartRetrain(bool validate_only) {
    v1::RetrainIndexRequest request;
    request.set_name(kName);
    request.set_validate_only(validate_only);
    google::longrunning::Operation operation;
    Call(*collections_, &v1::CollectionService::Stub::RetrainIndex, request, &operation);
    return operation;
  }

  void Retrain() {
    const double quiet_p99 = Quiet("retrain");
    v1::IndexOperationMetadata metadata;
    StartRetrain(true).metadata().UnpackTo(&metadata);
    const auto& estimate = metadata.estimate();
    report_.Add("retrain.estimate",
                static_cast<double>(estimate.duration().seconds()) +
                    1e-9 * static_cast<double>(estimate.duration().nanos()),
                "s");
    report_.Add("retrain.estimate.peak", static_cast<double>(estimate.peak_bytes()), "bytes");
    const Requests requests = SearchRequests(options_.recall_targets.front(), queries_.rows());
    std::atomic<bool> stop{false};
    server_.ResetPeak();
    const auto before = static_cast<double>(server_.MemoryBytes("VmRSS"));
    const double cpu = server_.CpuSeconds();
    const Clock::time_point begin = Clock::now();
    google::longrunning::Operation operation = StartRetrain(false);
    auto loop = std::async(std::launch::async, [&] {
      return RunOpenLoop(server_, requests, rate_, options_.open_clients, stop, nullptr);
    });
    try {
      google::longrunning::GetOperationRequest request;
      request.set_name(operation.name());
      while (!operation.done()) {
        std::this_thread::sleep_for(kPoll);
        Call(*operations_, &google::longrunning::Operations::Stub::GetOperation, request,
             &operation);
      }
    } catch (...) {
      stop = true;
      throw;
    }
    const double seconds = Seconds(begin);
    stop = true;
    const OpenLoop retrain = loop.get();
    if (operation.has_error()) throw std::runtime_error(operation.error().message());
    report_.Add("retrain.seconds", seconds, "s");
    report_.Add("retrain.memory_rise", static_cast<double>(server_.MemoryBytes("VmHWM")) - before,
                "bytes");
    report_.Add("retrain.server_cpu", (server_.CpuSeconds() - cpu) / seconds, "cores");
    report_.Add("retrain.searches", static_cast<double>(retrain.micros.size()), "");
    report_.Add("retrain.search.rate", retrain.rate, "1/s");
    report_.AddTimes("retrain.search", retrain.micros);
    report_.Add("retrain.search.p99_over_quiet", Percentile(retrain.micros, 0.99) / quiet_p99, "");
    WaitQuiet();
    AddRecall("retrain.after");
  }

  void Restart() {
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

  const Options& options_;
  const NpyFile base_;
  const NpyFile queries_;
  size_t rows_ = 0;
  BenchServer server_;
  std::unique_ptr<v1::CollectionService::Stub> collections_;
  std::unique_ptr<v1::DocumentService::Stub> documents_;
  std::unique_ptr<google::longrunning::Operations::Stub> operations_;
  std::vector<int64_t> live_;  // numbers of the documents that exist, ascending but in Churn
  int64_t next_ = 0;           // number of the next new document
  double rate_ = 0;            // half of what one quiet client reached
  Report report_;
};

int Main(int argc, char** argv) {
  CLI::App app("vecinod over gRPC: ingest, search, updates, retraining, restart");
  Options options;
  app.add_option("--vecinod", options.vecinod, "The binary")->required()->check(CLI::ExistingFile);
  app.add_option("--data", options.data)->required()->check(CLI::ExistingDirectory);
  app.add_option("--rows", options.rows, "First rows of the base to ingest; 0: all");
  app.add_option("--shards", options.shards, "Shards of the collection");
  app.add_option("--store", options.store, "Folder of the server's data; else one that is removed");
  app.add_option("--steps", options.steps, "What to measure")
      ->delimiter(',')
      ->check(CLI::IsMember({"ingest", "search", "churn", "retrain", "restart"}));
  app.add_option("--json", options.json, "File to write the figures to");
  app.add_flag("--graph", options.graph, "Let segments have graphs, and wait for them");
  app.add_option("--writers", options.writers, "Connections of ingest");
  app.add_option("--batch", options.batch, "Documents in a call of ingest");
  app.add_option("--recall-targets", options.recall_targets, "The first is that of churn, retrain")
      ->delimiter(',')
      ->check(CLI::Range(0.01, 1.0));
  app.add_option("--clients", options.clients)->delimiter(',');
  app.add_option("--search-seconds", options.search_seconds, "Least time of a closed loop");
  app.add_option("--quiet-seconds", options.quiet_seconds, "Time of searches at half rate, alone");
  app.add_option("--seconds", options.seconds, "Time of churn");
  app.add_option("--churn-rate", options.churn_rate, "Upserts, and deletes, a second");
  app.add_option("--churn-batch", options.churn_batch, "Documents in a call of churn");
  app.add_option("--open-clients", options.open_clients, "Connections of searches at half rate");
  app.add_option("--sample", options.sample, "Queries of the recall that churn and others print");
  app.add_option("-k", options.top_k);
  app.add_option("--tail-capacity", options.tail_capacity,
                 "--index-tail-capacity of the server; fewer for long vectors, as it has it");
  app.add_option("--server-flag", options.server_flags, "One more word of its command line")
      ->allow_extra_args(false);
  CLI11_PARSE(app, argc, argv);
  options.server_flags.insert(options.server_flags.begin(),
                              {"--index-tail-capacity", std::to_string(options.tail_capacity)});

  std::string folder = options.store;
  if (folder.empty()) {
    folder = (std::filesystem::temp_directory_path() / "server_bench.XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("cannot make " + folder);
  }
  std::filesystem::create_directories(folder);
  {
    Bench bench(options, folder);
    bench.Run();
    if (!options.json.empty()) std::ofstream(options.json) << bench.report().json().dump(1) << '\n';
  }
  if (options.store.empty()) std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace vecino::bench

int main(int argc, char** argv) {
  try {
    return vecino::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "server_bench: " << error.what() << '\n';
    return 1;
  }
}
