// Searches beside updates and beside retraining.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/bench/server_bench_steps.h"
#include "vecino/v1/index_operation.pb.h"

namespace vecino::bench {
namespace {

constexpr double kMostQuietSeconds = 120;
// Until the server drains a tail that is not full, and a second more.
constexpr std::chrono::seconds kTailQuiet(3);

}  // namespace

OpenLoop Bench::SearchBeside(
    const std::function<void()>& work,
    const std::function<void(Clock::time_point, const v1::SearchDocumentsResponse&)>& check) {
  const Requests requests = SearchRequests(options_.recall_targets.front(), queries_.rows());
  std::atomic<bool> stop{false};
  auto loop = std::async(std::launch::async, [&] {
    return RunOpenLoop(server_, requests, rate_, options_.open_clients, stop, check);
  });
  try {
    work();
  } catch (...) {
    stop = true;  // or `loop` would never end
    throw;
  }
  stop = true;
  return loop.get();
}

std::vector<double> Bench::WriteBeside(double upserts, const std::function<void()>& work) {
  std::vector<double> micros;
  std::atomic<bool> stop{false};
  // Its own thread, because there is no way back from a lower priority.
  auto writer = std::async(std::launch::async, [&] {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), options_.writer_nice);
    std::mt19937_64 chance(2);
    const Clock::time_point begin = Clock::now();
    for (size_t i = 0; upserts > 0 && !stop; ++i) {
      std::this_thread::sleep_until(begin + Duration(static_cast<double>(i) / upserts));
      const int64_t number = live_[chance() % live_.size()];
      const Clock::time_point sent = Clock::now();
      Upsert(*documents_, number, number + 1);
      micros.push_back(1e6 * Seconds(sent));
    }
  });
  try {
    work();
  } catch (...) {
    stop = true;  // or `writer` would never end
    throw;
  }
  stop = true;
  writer.get();
  return micros;
}

double Bench::Quiet(const std::string& name, double seconds, double upserts) {
  WaitQuiet();
  rate_ = options_.rate;
  if (rate_ == 0) {
    const Requests requests = SearchRequests(options_.recall_targets.front(), queries_.rows());
    rate_ = RunClosedLoop(server_, requests, 1, options_.search_seconds).qps / 2;
  }
  std::vector<double> writes;
  const auto sleep = [&] { std::this_thread::sleep_for(Duration(seconds)); };
  const OpenLoop quiet = SearchBeside([&] { writes = WriteBeside(upserts, sleep); }, nullptr);
  report_.Add(name + ".rate", rate_, "1/s");
  if (upserts > 0) report_.AddTimes(name + ".quiet.upsert", writes);
  report_.Add(name + ".quiet.rate", quiet.rate, "1/s");
  report_.AddTimes(name + ".quiet", quiet.micros);
  report_.AddTimes(name + ".quiet.late", quiet.late);
  return Percentile(quiet.micros, 0.99);
}

BenchServer::Histogram Bench::PublishStalls() const {
  return server_.ReadHistogram("vecino_publish_stall_seconds");
}

void Bench::AddPublishStalls(const std::string& name, const BenchServer::Histogram& before) {
  const BenchServer::Histogram stalls = PublishStalls().Since(before);
  report_.Add(name + ".publishes", stalls.count(), "");
  if (stalls.count() == 0) return;
  report_.Add(name + ".publish_stall.mean", 1e6 * stalls.sum / stalls.count(), "us");
  // The bounds of its buckets are .5, 1, 2 ms.
  report_.Add(name + ".publish_stall.p99_at_most", 1e6 * stalls.Bound(0.99), "us");
  const auto over = std::find_if(stalls.up_to.rbegin(), stalls.up_to.rend(),
                                 [](const auto& bucket) { return bucket.first <= 1.0001e-3; });
  report_.Add(name + ".publish_stalls_over_1ms",
              stalls.count() - (over == stalls.up_to.rend() ? 0 : over->second), "");
}

void Bench::Churn() {
  const double quiet_p99 = Quiet("churn", options_.quiet_seconds, 0);
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
  std::mt19937_64 chance(1);
  std::vector<double> upserts, deletes;
  int64_t done = 0;
  double seconds = 0;
  const auto write = [&] {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), options_.writer_nice);
    const Clock::time_point begin = Clock::now();
    while (done < total && Seconds(begin) < 1.5 * options_.seconds) {
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
    seconds = Seconds(begin);
  };
  const BenchServer::Histogram stalls = PublishStalls();
  const double cpu = server_.CpuSeconds();
  // On a thread of its own, because there is no way back from a lower priority.
  const OpenLoop churn = SearchBeside([&] { std::async(std::launch::async, write).get(); }, check);
  std::sort(live_.begin(), live_.end());
  report_.Add("churn.upserts", static_cast<double>(done) / seconds, "rows/s");
  report_.Add("churn.deletes", static_cast<double>(done) / seconds, "rows/s");
  report_.Add("churn.seconds", seconds, "s");
  report_.AddTimes("churn.upsert_batch", upserts);
  report_.AddTimes("churn.delete_batch", deletes);
  report_.Add("churn.search.rate", churn.rate, "1/s");
  report_.AddTimes("churn.search", churn.micros);
  report_.AddTimes("churn.search.late", churn.late);
  std::vector<double> calls;
  for (size_t i = 0; i < churn.micros.size(); ++i) calls.push_back(churn.micros[i] - churn.late[i]);
  report_.AddTimes("churn.search.call", calls);
  constexpr size_t kParts = 10;  // whether it gets slower
  for (size_t i = 0; i < kParts; ++i) {
    const auto at = [&](size_t part) {
      return churn.micros.begin() + static_cast<ptrdiff_t>(part * churn.micros.size() / kParts);
    };
    report_.AddTimes("churn.search.part" + std::to_string(i), {at(i), at(i + 1)});
  }
  report_.Add("churn.search.p99_over_quiet", Percentile(churn.micros, 0.99) / quiet_p99, "");
  report_.Add("churn.search.deleted_hits", static_cast<double>(wrong_hits), "");
  report_.Add("churn.server_cpu", (server_.CpuSeconds() - cpu) / seconds, "cores");
  report_.Add("churn.segments", Stats().segments(), "");
  AddPublishStalls("churn", stalls);
  AddRecall("churn.after");
  WaitQuiet();
  AddRecall("churn.settled");
}

double Bench::DeleteSome(int64_t count, std::mt19937_64* chance,
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

google::longrunning::Operation Bench::StartRetrain(bool validate_only) {
  v1::RetrainIndexRequest request;
  request.set_name(kName);
  request.set_validate_only(validate_only);
  google::longrunning::Operation operation;
  Call(*collections_, &v1::CollectionService::Stub::RetrainIndex, request, &operation);
  return operation;
}

void Bench::Retrain() {
  const auto rest = [&] {
    std::this_thread::sleep_for(kTailQuiet);
    WaitQuiet();
  };
  rest();
  v1::IndexOperationMetadata metadata;
  StartRetrain(true).metadata().UnpackTo(&metadata);
  const auto& estimate = metadata.estimate();
  const double predicted = static_cast<double>(estimate.duration().seconds()) +
                           1e-9 * static_cast<double>(estimate.duration().nanos());
  report_.Add("retrain.estimate", predicted, "s");
  report_.Add("retrain.estimate.peak", static_cast<double>(estimate.peak_bytes()), "bytes");
  report_.Add("retrain.estimate.index", static_cast<double>(estimate.index_bytes()), "bytes");
  // What the writer brings stands in tails, which every search compares one by one, until they are
  // full: so quiet searches go on for about as long, and both begin with tails that are drained.
  const double quiet_seconds = std::clamp(predicted, options_.quiet_seconds,
                                          std::max(kMostQuietSeconds, options_.quiet_seconds));
  const double quiet_p99 = Quiet("retrain", quiet_seconds, options_.retrain_upserts);
  rest();
  server_.ResetPeak();
  // Files that are mapped, as the new index is, are not in it, so it is no measure of the
  // estimate's peak: retrain_memory_test is.
  const auto anonymous = static_cast<double>(server_.MemoryBytes("RssAnon"));
  double most_anonymous = anonymous;
  const auto before = static_cast<double>(server_.MemoryBytes("VmRSS"));
  const double cpu = server_.CpuSeconds();
  const BenchServer::Histogram stalls = PublishStalls();
  double seconds = 0;
  std::vector<double> writes;
  google::longrunning::Operation operation;
  const auto wait = [&] {
    const Clock::time_point begin = Clock::now();
    operation = StartRetrain(false);
    google::longrunning::GetOperationRequest request;
    request.set_name(operation.name());
    while (!operation.done()) {
      std::this_thread::sleep_for(kPoll);
      most_anonymous =
          std::max(most_anonymous, static_cast<double>(server_.MemoryBytes("RssAnon")));
      Call(*operations_, &google::longrunning::Operations::Stub::GetOperation, request, &operation);
    }
    seconds = Seconds(begin);
  };
  const OpenLoop retrain =
      SearchBeside([&] { writes = WriteBeside(options_.retrain_upserts, wait); }, nullptr);
  if (operation.has_error()) throw std::runtime_error(operation.error().message());
  report_.Add("retrain.seconds", seconds, "s");
  report_.Add("retrain.memory_rise", static_cast<double>(server_.MemoryBytes("VmHWM")) - before,
              "bytes");
  report_.Add("retrain.anonymous_rise", most_anonymous - anonymous, "bytes");
  report_.Add("retrain.server_cpu", (server_.CpuSeconds() - cpu) / seconds, "cores");
  report_.Add("retrain.searches", static_cast<double>(retrain.micros.size()), "");
  report_.Add("retrain.search.rate", retrain.rate, "1/s");
  AddPublishStalls("retrain", stalls);
  if (options_.retrain_upserts > 0) report_.AddTimes("retrain.upsert", writes);
  report_.AddTimes("retrain.search", retrain.micros);
  report_.Add("retrain.search.p99_over_quiet", Percentile(retrain.micros, 0.99) / quiet_p99, "");
  WaitQuiet();
  AddRecall("retrain.after");
}

}  // namespace vecino::bench
