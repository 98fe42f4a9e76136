// vecino index export
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/interrupt.h"
#include "client/cli/progress.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string collection;
  std::string folder;
  std::optional<int> shard;
  bool no_vectors = false;
  bool force = false;
  bool quiet = false;
};

// A file under another name until it is whole. What is not kept is removed.
class PartFile {
 public:
  explicit PartFile(fs::path path) : path_(std::move(path)), part_(path_.string() + ".part") {}
  ~PartFile() { Drop(); }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  void Drop() {
    if (fd_ < 0) return;
    close(std::exchange(fd_, -1));
    unlink(part_.c_str());
  }
  Status Create() {
    fd_ = open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return fd_ < 0 ? Failed("create") : Status();
  }
  Status Write(std::string_view bytes) {
    while (!bytes.empty()) {
      if (Interrupted().load()) return Status(Code::kCancelled, "interrupted");
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failed("write");
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return Status();
  }
  // To the disk, and to its own name in the place of what had it.
  Status Keep() {
    if (fsync(fd_) != 0) return Failed("write");
    if (std::rename(part_.c_str(), path_.c_str()) != 0) return Failed("rename");
    close(std::exchange(fd_, -1));
    return Status();
  }

 private:
  Status Failed(const char* what) const {
    return Status(Code::kUnknown, std::string("cannot ") + what + " " + Printable(part_) + ": " +
                                      std::strerror(errno));
  }

  const fs::path path_;
  const std::string part_;
  int fd_ = -1;
};

std::string ShardFile(int shard, const char* ending) {
  char name[32];
  std::snprintf(name, sizeof(name), "shard-%05d.%s", shard, ending);
  return name;
}

// While files are written, Ctrl-C ends the export with nothing left behind; a second one ends the
// process. Before that, while the server makes the index, it ends the process.
class WhileWriting {
 public:
  WhileWriting() { CatchInterrupt(); }
  ~WhileWriting() { LeaveInterrupt(); }
  WhileWriting(const WhileWriting&) = delete;
  WhileWriting& operator=(const WhileWriting&) = delete;
};

// Writes one shard's two files.
class ShardWriter final : public IndexExportSink {
 public:
  ShardWriter(const Arguments& arguments, int shard)
      : name_(arguments.collection + " shard " + std::to_string(shard)),
        quiet_(arguments.quiet),
        index_(fs::path(arguments.folder) / ShardFile(shard, "faiss")),
        ids_(fs::path(arguments.folder) / ShardFile(shard, "ids")) {}

  Status Begin(const IndexExportInfo& info) override {
    info_ = info;
    bytes_ = rows_ = 0;
    catch_.emplace();
    progress_.emplace(name_, info.index_bytes, quiet_);
    if (Status status = index_.Create(); !status.ok()) return status;
    return ids_.Create();
  }

  Status IndexData(std::string_view bytes) override {
    if (Status status = index_.Write(bytes); !status.ok()) return status;
    bytes_ += static_cast<int64_t>(bytes.size());
    return Told();
  }

  Status DocumentIds(const std::vector<std::string>& ids) override {
    std::string lines;
    for (const std::string& id : ids) lines += OneLine(Json(id)) + '\n';
    if (Status status = ids_.Write(lines); !status.ok()) return status;
    rows_ += static_cast<int64_t>(ids.size());
    return Told();
  }

  bool Restart(const Status& why) override {
    if (Interrupted().load()) return false;
    progress_->Message("vecino: " + Printable(why.ToString()) + "; exporting " + Printable(name_) +
                       " anew");
    progress_->Finish();
    index_.Drop();
    ids_.Drop();
    catch_.reset();  // the server makes the index again, and files are not written
    return true;
  }

  // Once everything came.
  Status Keep() {
    progress_->Finish();
    if (Status status = index_.Keep(); !status.ok()) return status;
    return ids_.Keep();
  }

  const IndexExportInfo& info() const { return info_; }

 private:
  Status Told() {
    progress_->Update(bytes_, rows_);
    return Status();
  }

  const std::string name_;
  const bool quiet_;
  IndexExportInfo info_;
  int64_t bytes_ = 0, rows_ = 0;
  PartFile index_, ids_;
  std::optional<WhileWriting> catch_;
  std::optional<Progress> progress_;
};

Json ManifestOf(const Collection& collection, const std::vector<IndexExportInfo>& shards) {
  Json list = Json::array();
  for (const IndexExportInfo& info : shards) {
    list.push_back({{"shard", info.shard},
                    {"rows", info.rows},
                    {"index", ShardFile(info.shard, "faiss")},
                    {"index_bytes", info.index_bytes},
                    {"ids", ShardFile(info.shard, "ids")},
                    {"description", info.description}});
  }
  Json manifest = {
      {"collection", collection.id},           {"metric", MetricName(collection.metric)},
      {"dimension", collection.dimension},     {"kind", collection.index_kind},
      {"shard_count", collection.shard_count}, {"shards", std::move(list)}};
  if (!collection.model.empty()) {
    manifest["model"] = collection.model;
    manifest["model_hash"] = collection.model_hash;
    manifest["query_prompt"] = collection.query_prompt;
    manifest["document_prompt"] = collection.document_prompt;
  }
  return manifest;
}

int Run(Context& context, const Arguments& arguments) {
  Client& client = context.client(std::chrono::hours(24));  // a call ends when the file is here
  const std::string what = "export the index of " + arguments.collection;
  const Result<Collection> collection = client.GetCollection(arguments.collection);
  if (!collection.ok()) return context.Fail(what, collection.status());
  std::vector<int> shards;
  for (int shard = 0; shard < collection->shard_count; ++shard) {
    if (arguments.shard.value_or(shard) == shard) shards.push_back(shard);
  }
  if (shards.empty()) {
    return UsageError("--shard " + std::to_string(*arguments.shard) + ": " +
                      Printable(arguments.collection) + " has shards 0 to " +
                      std::to_string(collection->shard_count - 1));
  }
  const fs::path folder(arguments.folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return UsageError("cannot make " + Printable(folder.string()) + ": " + error.message());
  std::vector<std::string> names = {"manifest.json"};
  for (const int shard : shards) {
    names.push_back(ShardFile(shard, "faiss"));
    names.push_back(ShardFile(shard, "ids"));
  }
  for (const std::string& name : names) {
    if (!arguments.force && fs::exists(folder / name, error)) {
      return UsageError(Printable((folder / name).string()) +
                        " is there already; --force replaces it, or name another folder");
    }
  }
  // A manifest always tells of what is beside it.
  fs::remove(folder / "manifest.json", error);

  std::vector<IndexExportInfo> done;
  for (const int shard : shards) {
    ShardWriter writer(arguments, shard);
    Status status = client.ExportIndex(arguments.collection, shard, !arguments.no_vectors, writer);
    if (status.ok()) status = writer.Keep();
    if (Interrupted().load()) {
      std::cerr << "vecino: interrupted; shard " << shard << " was not exported\n";
      return kInterrupted;
    }
    if (!status.ok()) return context.Fail(what + ", shard " + std::to_string(shard), status);
    done.push_back(writer.info());
    if (!context.json) {
      std::cout << ShardFile(shard, "faiss") << ": " << Printable(writer.info().description) << ", "
                << Bytes(writer.info().index_bytes) << '\n';
    }
  }
  const Json manifest = ManifestOf(*collection, done);
  PartFile file(folder / "manifest.json");
  Status status = file.Create();
  if (status.ok())
    status = file.Write(manifest.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  if (status.ok()) status = file.Keep();
  if (!status.ok()) return context.Fail(what, status);
  if (context.json) std::cout << OneLine(manifest) << '\n';
  return 0;
}

}  // namespace

void AddIndexCommands(CLI::App& app, Context& context) {
  CLI::App* group = app.add_subcommand("index", "Take a collection's index out, for FAISS");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand(
      "export", "Write each shard as a file for faiss.read_index, and the ids of its rows");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("NAME", arguments->collection)->required();
  command
      ->add_option("DIR", arguments->folder,
                   "Folder for shard-00000.faiss, shard-00000.ids and so on, and manifest.json")
      ->required();
  command->add_option("--shard", arguments->shard, "One shard only (default: all)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--no-vectors", arguments->no_vectors,
                    "Leave full vectors out where the kind of index does without: smaller files, "
                    "less exact scores");
  command->add_flag("--force", arguments->force, "Replace files that are there");
  command->add_flag("--quiet,-q", arguments->quiet, "No progress");
  command->callback([&context, arguments] {
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
