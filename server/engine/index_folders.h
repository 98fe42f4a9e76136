// The folders of index files under the data directory, one for each collection by its uid.
#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

namespace vecino::engine {

// The folder of one collection, held by all who may write to it. Thread safety: all methods are
// safe from any thread.
class IndexFolder {
 public:
  // root empty: there is none.
  IndexFolder(std::string root, uint32_t uid) : root_(std::move(root)), uid_(uid) {}
  // After Remove once more: of what a build that was under way then has written since.
  ~IndexFolder();
  IndexFolder(const IndexFolder&) = delete;
  IndexFolder& operator=(const IndexFolder&) = delete;

  // Deletes it, of a collection that is gone. Best effort: what stays is taken at the next start.
  // Blocks on the disk.
  void Remove();

 private:
  void Delete() const;

  const std::string root_;
  const uint32_t uid_;
  std::atomic<bool> removed_ = false;
};

// Deletes the folders of all but `known`. root empty: nothing. Best effort. Blocks on the disk.
void RemoveStrayIndexFolders(const std::string& root, const std::set<uint32_t>& known);

}  // namespace vecino::engine
