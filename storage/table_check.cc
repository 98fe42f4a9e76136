#include "storage/table_check.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_reader.h"

namespace vecino::storage {

std::string DescribeDamagedTables(const std::string& folder, rocksdb::Env* env) {
  std::vector<std::string> names;
  if (!env->GetChildren(folder, &names).ok()) return "";
  std::sort(names.begin(), names.end());
  rocksdb::Options options;
  options.env = env;
  std::string damaged;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".sst")) continue;
    rocksdb::SstFileReader reader(options);
    rocksdb::Status status = reader.Open(absl::StrCat(folder, "/", name));
    if (status.ok()) status = reader.VerifyChecksum();
    if (status.ok()) continue;
    absl::StrAppend(&damaged, damaged.empty() ? "; damaged: " : ", ", name, " (", status.ToString(),
                    ")");
  }
  return damaged;
}

}  // namespace vecino::storage
