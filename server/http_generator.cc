#include "server/http_generator.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/chat_completion.h"
#include "server/rpc/worker_pool.h"
#include "server/sse_parser.h"

namespace vecino {
namespace {

constexpr const char* kPath = "/v1/chat/completions";
constexpr absl::Duration kTick = absl::Milliseconds(20);  // how exact times are
constexpr size_t kMaxEventBytes = 1 << 20;
constexpr size_t kMaxErrorBytes = 8 << 10;  // of the body of an error reply that is read
constexpr std::chrono::hours kNever{24};    // where the watch looks after the time

// Why an answer is cut short.
enum class Cut { kNot, kGivenUp, kFirstToken, kBetweenTokens, kWhole };

// One answer. Shared by the thread that makes it, the watch, and whoever may give it up. Thread
// safe.
class Job {
 public:
  Job(rpc::GeneratorRequest request, std::shared_ptr<rpc::GeneratorSink> sink,
      const HttpGeneratorOptions& options)
      : request_(std::move(request)),
        sink_(std::move(sink)),
        token_timeout_(options.token_timeout),
        begun_(absl::Now()),
        ends_(begun_ + options.timeout),
        limit_(begun_ + options.first_token_timeout) {}
  ~Job() {
    if (socket_ >= 0) close(socket_);
  }

  const rpc::GeneratorRequest& request() const { return request_; }
  rpc::GeneratorSink& sink() const { return *sink_; }
  absl::Time begun() const { return begun_; }
  Cut cut() const {
    absl::MutexLock lock(&mutex_);
    return cut_;
  }

  void GiveUp() { CutShort(Cut::kGivenUp); }

  // A socket that a connection is tried with; the one before is done with. It is known by a number
  // of our own, since httplib closes its number whenever it likes, and another connection may get
  // that.
  void Use(int socket) {
    absl::MutexLock lock(&mutex_);
    if (socket_ >= 0) close(socket_);
    socket_ = dup(socket);
  }

  // The connection is over. As long as our number is open, too, it is not closed: a peer that
  // writes on would wait for room for ever instead of hearing that nobody reads.
  void Release() {
    absl::MutexLock lock(&mutex_);
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

  // An event of the answer came.
  void Heard() {
    absl::MutexLock lock(&mutex_);
    limit_ = absl::Now() + token_timeout_;
    heard_ = true;
  }

  // Cuts it short when a time is over; once it is cut, its socket, each time: one that was not
  // connected yet has not noticed the first one.
  void Watch(absl::Time now) {
    Cut why = cut();
    if (why == Cut::kNot) {
      absl::MutexLock lock(&mutex_);
      if (now >= ends_) {
        why = Cut::kWhole;
      } else if (now >= limit_) {
        why = heard_ ? Cut::kBetweenTokens : Cut::kFirstToken;
      }
    }
    if (why != Cut::kNot) CutShort(why);
  }

 private:
  void CutShort(Cut why) {
    absl::MutexLock lock(&mutex_);
    if (cut_ == Cut::kNot) cut_ = why;
    if (socket_ >= 0) shutdown(socket_, SHUT_RDWR);
  }

  const rpc::GeneratorRequest request_;
  const std::shared_ptr<rpc::GeneratorSink> sink_;
  const absl::Duration token_timeout_;
  const absl::Time begun_;
  const absl::Time ends_;
  mutable absl::Mutex mutex_;
  absl::Time limit_ ABSL_GUARDED_BY(mutex_);
  bool heard_ ABSL_GUARDED_BY(mutex_) = false;
  Cut cut_ ABSL_GUARDED_BY(mutex_) = Cut::kNot;
  int socket_ ABSL_GUARDED_BY(mutex_) = -1;
};

class HttpGeneration final : public rpc::Generation {
 public:
  explicit HttpGeneration(std::shared_ptr<Job> job) : job_(std::move(job)) {}
  ~HttpGeneration() override { job_->GiveUp(); }

 private:
  const std::shared_ptr<Job> job_;
};

// What came of one call.
struct Reply {
  int status = 0;  // of HTTP; 0: none came
  std::string content_type;
  std::string error_body;
  bool done = false;    // `[DONE]` came
  bool wanted = true;   // the sink wants more
  bool spoke = false;   // a piece of the answer came
  absl::Status broken;  // what came is no answer
  rpc::GeneratorEnd end;
};

class ChatGenerator final : public HttpGenerator {
 public:
  ChatGenerator(HttpGeneratorOptions options, Metrics* metrics)
      : options_(std::move(options)),
        metrics_(*metrics),
        first_token_(
            metrics->latency("vecino_generator_first_token_seconds",
                             "From a call of the generator to the first piece of its answer.", {})),
        threads_(options_.max_calls, options_.max_calls),
        watch_([this] { Watch(); }) {
    metrics->gauge("vecino_generator_in_flight", "Answers being made.", {}, [this] {
      absl::MutexLock lock(&mutex_);
      return static_cast<double>(jobs_.size());
    });
  }

  ~ChatGenerator() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      for (const auto& job : jobs_) job->GiveUp();
    }
    threads_.Shutdown();
    {
      absl::MutexLock lock(&mutex_);
      stopped_ = true;
      changed_.Signal();
    }
    watch_.join();
  }

  absl::StatusOr<std::unique_ptr<rpc::Generation>> Start(
      rpc::GeneratorRequest request, std::shared_ptr<rpc::GeneratorSink> sink) override {
    auto job = std::make_shared<Job>(std::move(request), std::move(sink), options_);
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return absl::UnavailableError("the server is stopping");
      if (static_cast<int>(jobs_.size()) < options_.max_calls) {
        jobs_.push_back(job);
      } else {
        job = nullptr;
      }
      changed_.Signal();
    }
    if (job == nullptr) {
      Count(absl::StatusCode::kResourceExhausted);
      return absl::ResourceExhaustedError(
          absl::StrCat("the generator makes ", options_.max_calls,
                       " answers already (generator.max-calls); repeat later"));
    }
    // There is room for max_calls, and there are no more jobs.
    if (!threads_.TrySubmit([this, job] { Run(job); })) {
      Forget(job);
      return absl::UnavailableError("the server is stopping");
    }
    return std::make_unique<HttpGeneration>(job);
  }

 private:
  void Run(const std::shared_ptr<Job>& job) {
    Reply reply;
    std::string problem;
    if (job->cut() == Cut::kNot) problem = Call(*job, &reply);
    job->Release();
    reply.end.status = Judge(*job, reply, problem);
    const bool silent = job->cut() == Cut::kGivenUp || !reply.wanted;
    // Before its place is free: who sees that it is sees the call counted too.
    Count(silent ? absl::StatusCode::kCancelled : reply.end.status.code());
    Forget(job);
    if (silent) return;
    if (reply.end.model.empty()) reply.end.model = options_.model;
    job->sink().End(std::move(reply.end));
  }

  // Makes the call; returns what httplib says went wrong, empty when nothing did.
  std::string Call(Job& job, Reply* reply) {
    const GeneratorUrl& url = options_.url;
    std::unique_ptr<httplib::ClientImpl> client;
    if (url.tls) {
      client = std::make_unique<httplib::SSLClient>(url.host, url.port);
    } else {
      client = std::make_unique<httplib::ClientImpl>(url.host, url.port);
    }
    client->set_connection_timeout(
        absl::ToChronoMicroseconds(std::min(options_.connect_timeout, absl::Hours(24))));
    client->set_read_timeout(kNever);
    client->set_write_timeout(kNever);
    client->set_tcp_nodelay(true);
    client->set_decompress(false);
    client->set_socket_options([&job](socket_t socket) { job.Use(socket); });

    httplib::Request request;
    request.method = "POST";
    request.path = absl::StrCat(url.path, kPath);
    request.headers = {{"Host", url.Authority()},
                       {"Accept", "text/event-stream"},
                       {"Accept-Encoding", "identity"},
                       {"Content-Type", "application/json"}};
    if (!options_.key.empty()) request.headers.emplace("Authorization", "Bearer " + options_.key);
    const rpc::GeneratorRequest& wish = job.request();
    request.body =
        ChatRequest(options_.model, wish.prompt,
                    wish.max_tokens > 0 ? wish.max_tokens : options_.max_tokens, wish.temperature);
    request.response_handler = [&](const httplib::Response& response) {
      reply->status = response.status;
      reply->content_type = response.get_header_value("Content-Type");
      return job.cut() == Cut::kNot;
    };
    SseParser parser(kMaxEventBytes);
    const auto event = [&](std::string_view data) { return Event(job, data, reply); };
    request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
      if (job.cut() != Cut::kNot) return false;
      if (!IsStream(*reply)) {
        reply->error_body.append(data, std::min(size, kMaxErrorBytes - reply->error_body.size()));
        return reply->error_body.size() < kMaxErrorBytes;
      }
      const SseParser::Result result = parser.Feed({data, size}, event);
      if (result == SseParser::Result::kTooLong) {
        reply->broken =
            absl::UnknownError(absl::StrCat("an event has more than ", kMaxEventBytes, " bytes"));
      }
      return result == SseParser::Result::kMore;
    };

    httplib::Response response;
    httplib::Error error = httplib::Error::Success;
    const bool sent = client->send(request, response, error);
    if (IsStream(*reply) && reply->broken.ok() && reply->wanted && !reply->done) parser.End(event);
    if (sent) return "";
    if (error == httplib::Error::Connection && url.tls) return "no connection, or no TLS";
    return httplib::to_string(error);
  }

  static bool IsStream(const Reply& reply) {
    return reply.status == 200 &&
           (reply.content_type.empty() ||
            absl::StartsWithIgnoreCase(reply.content_type, "text/event-stream"));
  }

  // Whether more events are wanted.
  bool Event(Job& job, std::string_view data, Reply* reply) {
    if (data == "[DONE]") {
      reply->done = true;
      return false;
    }
    if (data.empty()) return true;
    absl::StatusOr<ChatChunk> chunk = ParseChatChunk(data);
    if (!chunk.ok()) {
      reply->broken = chunk.status();
      return false;
    }
    job.Heard();
    if (!chunk->model.empty()) reply->end.model = std::move(chunk->model);
    if (!chunk->finish_reason.empty()) reply->end.finish_reason = std::move(chunk->finish_reason);
    if (chunk->text.empty()) return true;
    if (!std::exchange(reply->spoke, true)) {
      first_token_.Observe(absl::ToDoubleSeconds(absl::Now() - job.begun()));
    }
    reply->wanted = job.sink().Text(chunk->text);
    return reply->wanted;
  }

  // How the answer ended. problem: what httplib says.
  absl::Status Judge(const Job& job, const Reply& reply, const std::string& problem) const {
    const std::string who = absl::StrCat("the generator at ", options_.url.text);
    if (!reply.broken.ok()) {
      return absl::Status(
          reply.broken.code(),
          absl::StrCat(
              who,
              absl::IsUnknown(reply.broken) ? " sent what is no chat completion: " : " failed: ",
              Hidden(std::string(reply.broken.message()))));
    }
    if (reply.done) return absl::OkStatus();
    switch (job.cut()) {
      case Cut::kNot:
        break;
      case Cut::kGivenUp:
        return absl::CancelledError("the answer was given up");
      case Cut::kFirstToken:
        return Late(who, "began no answer", options_.first_token_timeout, "first-token-timeout");
      case Cut::kBetweenTokens:
        return Late(who, "stopped in its answer", options_.token_timeout, "token-timeout");
      case Cut::kWhole:
        return Late(who, "was not done with its answer", options_.timeout, "timeout");
    }
    if (reply.status == 0) {
      return absl::UnavailableError(absl::StrCat(who, " does not answer: ", problem));
    }
    if (reply.status != 200) return OfHttp(who, reply);
    if (!IsStream(reply)) {
      return absl::UnknownError(absl::StrCat(
          who, " answered with `", reply.content_type.substr(0, 100),
          "` instead of a stream of events: ", Hidden(ChatErrorMessage(reply.error_body))));
    }
    if (!reply.end.finish_reason.empty()) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat(who, reply.spoke ? " broke off in its answer" : " broke off before its answer",
                     problem.empty() ? "" : ": ", problem));
  }

  static absl::Status Late(const std::string& who, const char* what, absl::Duration time,
                           const char* option) {
    return absl::DeadlineExceededError(absl::StrCat(
        who, " ", what, " within ", absl::FormatDuration(time), " (generator.", option, ")"));
  }

  absl::Status OfHttp(const std::string& who, const Reply& reply) const {
    absl::StatusCode code = absl::StatusCode::kFailedPrecondition;
    std::string advice;
    if (reply.status >= 500) {
      code = absl::StatusCode::kUnavailable;
    } else if (reply.status == 429) {
      code = absl::StatusCode::kResourceExhausted;
    } else if (reply.status == 401 || reply.status == 403) {
      code = absl::StatusCode::kPermissionDenied;
      advice = options_.key.empty() ? "; it wants a key (generator.key-file)"
                                    : "; it refuses the key (generator.key-file)";
    } else if (reply.status == 404) {
      advice = "; is its base URL right (generator.url), and its model (generator.model)?";
    }
    const std::string said = Hidden(ChatErrorMessage(reply.error_body));
    return absl::Status(code, absl::StrCat(who, " answered with HTTP status ", reply.status, advice,
                                           said.empty() ? "" : ": ", said));
  }

  // Without the key, which a server may repeat.
  std::string Hidden(std::string text) const {
    return options_.key.empty() ? text : absl::StrReplaceAll(text, {{options_.key, "(key)"}});
  }

  // Not under the lock, which whoever reads the metrics takes.
  void Count(absl::StatusCode code) {
    metrics_
        .counter("vecino_generator_calls_total", "Calls of the generator that ended, by how.",
                 {{"code", absl::StatusCodeToString(code)}})
        .Add();
  }

  void Forget(const std::shared_ptr<Job>& job) {
    absl::MutexLock lock(&mutex_);
    std::erase(jobs_, job);
  }

  // The thread that cuts answers short.
  void Watch() {
    absl::MutexLock lock(&mutex_);
    while (!stopped_) {
      if (jobs_.empty()) {
        changed_.Wait(&mutex_);
        continue;
      }
      const absl::Time now = absl::Now();
      for (const auto& job : jobs_) job->Watch(now);
      changed_.WaitWithTimeout(&mutex_, kTick);
    }
  }

  const HttpGeneratorOptions options_;
  Metrics& metrics_;
  Histogram& first_token_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::vector<std::shared_ptr<Job>> jobs_ ABSL_GUARDED_BY(mutex_);  // at most max_calls
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;                   // no new ones
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;                    // the watch ends
  rpc::WorkerPool threads_;
  std::thread watch_;
};

}  // namespace

std::unique_ptr<HttpGenerator> HttpGenerator::Create(HttpGeneratorOptions options,
                                                     Metrics* metrics) {
  return std::make_unique<ChatGenerator>(std::move(options), metrics);
}

}  // namespace vecino
