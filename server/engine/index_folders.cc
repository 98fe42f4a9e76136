#include "server/engine/index_folders.h"

#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vecino::engine {

IndexFolder::~IndexFolder() {
  if (removed_) Delete();
}

void IndexFolder::Remove() {
  removed_ = true;
  Delete();
}

void IndexFolder::Delete() const {
  if (root_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(absl::StrCat(root_, "/", uid_), ignored);
}

void RemoveStrayIndexFolders(const std::string& root, const std::set<uint32_t>& known) {
  if (root.empty()) return;
  std::error_code error;
  std::vector<uint32_t> strays;
  for (std::filesystem::directory_iterator it(root, error), end; !error && it != end;
       it.increment(error)) {
    uint32_t uid = 0;
    if (absl::SimpleAtoi(it->path().filename().string(), &uid) && !known.contains(uid)) {
      strays.push_back(uid);
    }
  }
  for (const uint32_t uid : strays) IndexFolder(root, uid).Remove();
}

}  // namespace vecino::engine
