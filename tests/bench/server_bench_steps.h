// The steps of server_bench, and what they print.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "google/longrunning/operations.grpc.pb.h"
#include "tests/bench/server_bench_data.h"
#include "tests/bench/server_bench_load.h"
#include "tests/bench/server_bench_process.h"
#include "vecino/v1/collection_service.grpc.pb.h"
#include "vecino/v1/document_service.grpc.pb.h"

namespace vecino::bench {

inline constexpr char kName[] = "collections/bench";
inline constexpr std::chrono::milliseconds kPoll(100);

// The command line; server_bench.cc explains it.
struct Options {
  std::string vecinod, data, store, json;
  std::vector<std::string> steps{"ingest", "search", "churn", "retrain", "restart"}, server_flags;
  std::vector<double> recall_targets{0.95, 0.99};
  std::vector<int> clients{1, 8};
  size_t rows = 0, sample = 200;
  int shards = 2, writers = 4, batch = 500, top_k = 10, open_clients = 4, churn_batch = 100;
  int writer_nice = 19;
  int64_t tail_capacity = 2048;
  double seconds = 60, quiet_seconds = 20, search_seconds = 5, churn_rate = 2000, rate = 0;
  double retrain_upserts = 200;
  bool graph = false;
};

// Figures, printed as they come and kept for the JSON file.
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

inline double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

inline Clock::duration Duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// One server with one collection. Whatever fails is a std::runtime_error.
class Bench {
 public:
  // `folder` exists; the server's data is there.
  Bench(const Options& options, const std::string& folder);
  void Run();
  const Report& report() const { return report_; }

 private:
  void Connect();
  v1::CollectionStats Stats();
  // Waits until maintenance has nothing to do; with `graph`, until large segments have theirs too.
  void WaitIndexed(bool graph);
  // Waits until the server does nothing any more.
  void WaitQuiet();
  // Numbers of the documents that the server has, ascending.
  std::vector<int64_t> List();
  // Writes documents [first, last) by one call.
  void Upsert(v1::DocumentService::Stub& stub, int64_t first, int64_t last) const;
  // The first `count` queries, ids only; target 0: exact.
  Requests SearchRequests(double target, size_t count) const;
  // What is right for the documents that are there now.
  Truth TruthNow(size_t count) const;
  // Recall of a sample of queries, exact and at the first recall target.
  void AddRecall(const std::string& name);

  void Ingest();
  void AddMemory();
  void Search();
  void Restart();

  // How long writers waited while segments were put in place: of all shards, since the start, and
  // what is printed of those since `before`.
  BenchServer::Histogram PublishStalls() const;
  void AddPublishStalls(const std::string& name, const BenchServer::Histogram& before);
  // What searches take at half the rate of one client for so long, beside nothing but so many
  // upserts a second; sets rate_ and returns the 99th percentile.
  double Quiet(const std::string& name, double seconds, double upserts);
  // Runs `work` while documents that exist are written again, one a call, so many a second; returns
  // the microseconds of each call.
  std::vector<double> WriteBeside(double upserts, const std::function<void()>& work);
  // Searches at rate_ while `work` runs.
  OpenLoop SearchBeside(
      const std::function<void()>& work,
      const std::function<void(Clock::time_point, const v1::SearchDocumentsResponse&)>& check);
  void Churn();
  // Deletes `count` random documents by one call; returns its microseconds.
  double DeleteSome(int64_t count, std::mt19937_64* chance,
                    std::vector<std::atomic<int64_t>>* deleted);
  google::longrunning::Operation StartRetrain(bool validate_only);
  void Retrain();

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
  double rate_ = 0;            // searches a second of the open loops
  Report report_;
};

// Throws unless the server says that the document was written or deleted.
void Check(const v1::BatchWriteResult& result);

}  // namespace vecino::bench
