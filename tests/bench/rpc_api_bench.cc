// What a call costs the server in CPU time, by which of gRPC's APIs serves it: completion queues
// (one thread per core, as vecinod has them) or callbacks. The reply is the request; the client
// runs in another process, so that only the server's time is counted.
//
//   rpc_api_bench [calls] [calls in flight]
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kRequestBytes = 200;  // of a search by text
constexpr int kWarmUp = 2000;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// One echo on a completion queue: requested, then read, then finished, then deleted.
class QueueCall {
 public:
  QueueCall(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    service_->RequestCall(&context_, &stream_, queue_, queue_, this);
  }

  void Proceed(bool ok) {
    if (!ok || step_ == 2) {
      delete this;
    } else if (step_++ == 0) {
      new QueueCall(service_, queue_);
      stream_.Read(&message_, this);
    } else {
      stream_.WriteAndFinish(message_, {}, grpc::Status::OK, this);
    }
  }

 private:
  grpc::AsyncGenericService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  grpc::ByteBuffer message_;
  int step_ = 0;
};

class CallbackCall final : public grpc::ServerGenericBidiReactor {
 public:
  CallbackCall() { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (ok) {
      StartWriteAndFinish(&message_, {}, grpc::Status::OK);
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer message_;
};

class CallbackService final : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new CallbackCall();
  }
};

// Runs in a process of its own: tells its port, serves, and when `commands` has a byte, answers its
// CPU time.
[[noreturn]] void Serve(bool callbacks, int commands, int answers) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  grpc::AsyncGenericService by_queue;
  CallbackService by_callback;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  if (callbacks) {
    builder.RegisterCallbackGenericService(&by_callback);
  } else {
    builder.RegisterAsyncGenericService(&by_queue);
    for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
      queues.push_back(builder.AddCompletionQueue());
    }
  }
  const auto server = builder.BuildAndStart();
  std::vector<std::thread> pollers;
  for (const auto& queue : queues) {
    for (int i = 0; i < 16; ++i) new QueueCall(&by_queue, queue.get());
    pollers.emplace_back([queue = queue.get()] {
      void* tag = nullptr;
      bool ok = false;
      while (queue->Next(&tag, &ok)) static_cast<QueueCall*>(tag)->Proceed(ok);
    });
  }
  if (write(answers, &port, sizeof port) != sizeof port) _exit(1);
  char command = 0;
  while (read(commands, &command, 1) == 1) {
    const double cpu = CpuSeconds();
    if (write(answers, &cpu, sizeof cpu) != sizeof cpu) break;
  }
  _exit(0);
}

struct ClientCall {
  grpc::ClientContext context;
  grpc::ByteBuffer reply;
  grpc::Status status;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
};

// `calls` unary calls, `in_flight` at once; false when one failed.
bool RunCalls(const std::vector<std::unique_ptr<grpc::GenericStub>>& stubs, int calls,
              int in_flight) {
  const grpc::Slice slice(std::string(kRequestBytes, 'x'));
  const grpc::ByteBuffer request(&slice, 1);
  grpc::CompletionQueue queue;
  int started = 0;
  bool good = true;
  const auto start = [&] {
    auto* call = new ClientCall;
    call->reader = stubs[started++ % stubs.size()]->PrepareUnaryCall(&call->context, "/bench/Echo",
                                                                     request, &queue);
    call->reader->StartCall();
    call->reader->Finish(&call->reply, &call->status, call);
  };
  while (started < in_flight && started < calls) start();
  for (int finished = 0; finished < calls; ++finished) {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    std::unique_ptr<ClientCall> call(static_cast<ClientCall*>(tag));
    good = good && call->status.ok() && call->reply.Length() == kRequestBytes;
    if (started < calls) start();
  }
  return good;
}

bool Measure(const char* name, int commands, int answers, int calls, int in_flight) {
  int port = 0;
  if (read(answers, &port, sizeof port) != sizeof port) return false;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (int i = 0; i < 2; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(std::make_unique<grpc::GenericStub>(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments)));
  }
  const auto cpu = [&] {
    double seconds = 0;
    if (write(commands, "?", 1) != 1 || read(answers, &seconds, sizeof seconds) != sizeof seconds) {
      return -1.0;
    }
    return seconds;
  };
  if (!RunCalls(stubs, kWarmUp, in_flight)) return false;
  for (int round = 0; round < 3; ++round) {
    const double before = cpu();
    if (!RunCalls(stubs, calls, in_flight)) return false;
    std::printf("%-18s %d in flight: %.1f us of CPU a call\n", name, in_flight,
                (cpu() - before) / calls * 1e6);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int calls = argc > 1 ? std::atoi(argv[1]) : 20000;
  const int in_flight = argc > 2 ? std::atoi(argv[2]) : 8;
  // Both servers are forked before gRPC is touched: it does not survive a fork.
  int commands[2][2], answers[2][2];
  pid_t servers[2];
  for (int i = 0; i < 2; ++i) {
    if (pipe(commands[i]) != 0 || pipe(answers[i]) != 0) return 1;
    servers[i] = fork();
    if (servers[i] == 0) {
      for (int j = 0; j <= i; ++j) close(commands[j][1]);
      Serve(i == 1, commands[i][0], answers[i][1]);
    }
  }
  bool good = true;
  const char* names[] = {"completion queues", "callbacks"};
  for (int i = 0; i < 2; ++i) {
    good = good && Measure(names[i], commands[i][1], answers[i][0], calls, in_flight);
  }
  for (int i = 0; i < 2; ++i) close(commands[i][1]);
  for (int i = 0; i < 2; ++i) waitpid(servers[i], nullptr, 0);
  return good ? 0 : 1;
}
