// vecino export
#include <iostream>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/cli/context.h"
#include "client/cli/document_digest.h"
#include "client/cli/format.h"
#include "client/cli/progress.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

constexpr int kMaxSlices = 64;  // threads of ours and streams of the server

struct Arguments {
  std::string collection, filter;
  bool vectors = false;
  bool digest = false;
  bool quiet = false;
  int slices = 1;
};

// Writes the documents that several streams bring, or their digest. Thread-safe.
class Exporter {
 public:
  Exporter(Context& context, const Arguments& arguments)
      : client_(context.client()),
        arguments_(arguments),
        progress_("export " + arguments.collection, -1, arguments.quiet) {}

  // Blocks until slice number `slice` is whole or cannot be.
  Status Run(int slice) {
    StreamOptions options;
    options.read_mask = {.text = true, .metadata = true, .vector = arguments_.vectors};
    options.slice = slice;
    options.slices = arguments_.slices;
    options.filter = arguments_.filter;
    options.on_resume = [this](const Status& why) {
      absl::MutexLock lock(&mutex_);
      progress_.Message("vecino: " + Printable(why.ToString()) +
                        "; going on behind what came, from a later moment");
    };
    return client_.StreamDocuments(
        arguments_.collection, options,
        [this](std::vector<Document> documents, const std::string&) { return Take(documents); });
  }

  // The first failure ends the other streams.
  void Fail(const Status& status) {
    absl::MutexLock lock(&mutex_);
    if (failure_.ok()) failure_ = status;
  }

  Status End() {
    absl::MutexLock lock(&mutex_);
    progress_.Finish();
    return failure_;
  }
  const DocumentDigest& digest() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return digest_; }
  int64_t documents() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return documents_; }

 private:
  Status Take(const std::vector<Document>& documents) {
    DocumentDigest part;
    std::string lines;
    for (const Document& document : documents) {
      if (arguments_.digest) {
        part.Add(document);
      } else {
        lines += OneLine(DocumentJson(document));
        lines += '\n';
      }
    }
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    digest_.Add(part);
    std::cout.write(lines.data(), static_cast<std::streamsize>(lines.size()));
    if (!std::cout) return Status(Code::kDataLoss, "standard output could not be written");
    documents_ += static_cast<int64_t>(documents.size());
    bytes_ += static_cast<int64_t>(lines.size());
    progress_.Update(bytes_, documents_);
    return Status();
  }

  Client& client_;
  const Arguments& arguments_;
  absl::Mutex mutex_;
  Progress progress_ ABSL_GUARDED_BY(mutex_);
  DocumentDigest digest_ ABSL_GUARDED_BY(mutex_);
  Status failure_ ABSL_GUARDED_BY(mutex_);
  int64_t documents_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

int Export(Context& context, const Arguments& arguments) {
  Exporter exporter(context, arguments);
  std::vector<std::thread> threads;
  for (int slice = 0; slice < arguments.slices; ++slice) {
    threads.emplace_back([&exporter, slice] {
      if (Status status = exporter.Run(slice); !status.ok()) exporter.Fail(status);
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (Status status = exporter.End(); !status.ok()) {
    const bool came = exporter.documents() > 0;
    return context.Fail(
        "export " + arguments.collection + (came ? " (what came is not all of it)" : ""), status);
  }
  if (!arguments.digest) return 0;
  if (context.json) {
    std::cout << OneLine({{"digest", exporter.digest().Hex()},
                          {"documents", exporter.documents()},
                          {"vectors", arguments.vectors}})
              << '\n';
  } else {
    std::cout << exporter.digest().Hex() << "  " << WithCommas(exporter.documents())
              << " documents\n";
  }
  return 0;
}

}  // namespace

void AddExportCommand(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("export", "Print all documents as JSONL that `load` reads");
  command->add_option("COLLECTION", arguments->collection)->required();
  command->add_flag("--vectors,--with-vector", arguments->vectors, "Also the vectors");
  command->add_option("--filter", arguments->filter, "Only documents that it lets pass");
  command
      ->add_option("--slices", arguments->slices,
                   "Parts to read at once, each of a moment of its own (default 1)")
      ->check(CLI::Range(1, kMaxSlices));
  command->add_flag("--digest", arguments->digest,
                    "Instead of the documents a fingerprint of them all, whatever their order");
  command->add_flag("--quiet,-q", arguments->quiet, "No progress");
  command->callback([&context, arguments] {
    context.command = [&context, arguments] { return Export(context, *arguments); };
  });
}

}  // namespace vecino::cli
