// The folders of index files under the data directory, one for each collection by its uid.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace vecino::engine {

// Deletes the folder of one collection; the folders of all but `known`. root empty: nothing. Best
// effort: what stays is taken at the next start. Block on the disk.
void RemoveIndexFolder(const std::string& root, uint32_t uid);
void RemoveStrayIndexFolders(const std::string& root, const std::set<uint32_t>& known);

}  // namespace vecino::engine
