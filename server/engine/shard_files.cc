#include "server/engine/shard_files.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "server/index/segment_file.h"

namespace vecino::engine {

absl::Status ShardFiles::Open(uint64_t next) {
  next_.store(next);
  return in_memory() ? absl::OkStatus() : index::MakeFolder(folder_);
}

std::string ShardFiles::Path(const char* prefix, uint64_t number) const {
  return in_memory() ? "" : absl::StrCat(folder_, "/", prefix, number);
}

void ShardFiles::Delete(const std::string& path) const {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

void ShardFiles::DeleteAllBut(const std::set<std::string>& keep) const {
  if (in_memory()) return;
  std::error_code error;
  std::vector<std::filesystem::path> unwanted;
  for (std::filesystem::directory_iterator it(folder_, error), end; !error && it != end;
       it.increment(error)) {
    if (!keep.contains(it->path().string())) unwanted.push_back(it->path());
  }
  for (const auto& path : unwanted) std::filesystem::remove(path, error);
}

}  // namespace vecino::engine
