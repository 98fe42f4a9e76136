// The real vecinod over gRPC: ingest, search, updates beside searches, retraining, restart.
//
//   server_bench --vecinod PATH --data FOLDER (--rows N) (--store FOLDER) (--json FILE)
//                (--steps ingest,search,churn,retrain,restart)
//
// The data folder holds base.npy, queries.npy (float32 unit vectors) and truth_scores.npy (the
// exact scores of each query's nearest rows of the base, best first). Client and server share the
// machine's cores. Prints lines `name value unit`; times of searches are microseconds at the
// client. Steps run in the order above; without `ingest`, --store names the folder of an earlier
// run.
//
// - ingest: ready vectors in batches from several connections, then the time until maintenance has
//   nothing left to do but graphs;
// - search: ids only, closed loop, by recall target and number of clients;
// - churn: searches at half the rate of one quiet client, timed from when they were due: first
//   alone, then beside a writer of new documents that also deletes as many, at random; the writer
//   stands for another machine, so it leaves the cores to the searches' clients (--writer-nice);
//   `late` is how much of a search's time was the bench's own, before it was sent;
// - retrain: searches at that rate beside a writer of few documents, first without and then with
//   RetrainIndex, for about as long; how long writers waited for each swap of segments meanwhile;
// - restart: kill -9, start, compare what is there with what was acknowledged.
#include <grpc/grpc.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "tests/bench/server_bench_steps.h"

namespace vecino::bench {
namespace {

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
  app.add_option("--retrain-upserts", options.retrain_upserts,
                 "Upserts a second beside retrain, and beside its quiet searches")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--writer-nice", options.writer_nice, "Priority of the writers, 0 to 19");
  app.add_option("--churn-batch", options.churn_batch, "Documents in a call of churn");
  app.add_option("--rate", options.rate,
                 "Searches a second of churn and retrain; 0: half of what one client reaches");
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
  // Each client waits for its own connection: with gRPC's epoll a thread that waits for a search's
  // reply also moves the writer's bytes, as clients on other machines would not. Not for the
  // server.
  setenv("GRPC_POLL_STRATEGY", "poll", /*overwrite=*/1);
  grpc_init();
  unsetenv("GRPC_POLL_STRATEGY");
  try {
    return vecino::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "server_bench: " << error.what() << '\n';
    return 1;
  }
}
