#include "server/data_dir.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace vecino {
namespace {

absl::Status Fault(const std::string& doing, int error) {
  const std::string text = absl::StrCat(doing, ": ", std::generic_category().message(error));
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat(
          text,
          "; give the user that runs the server the right to write there, or choose another"));
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; free some space on that disk"));
    default:
      return absl::FailedPreconditionError(text);
  }
}

}  // namespace

absl::Status PrepareFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Fault(absl::StrCat("cannot make the folder ", path), error.value());
  if (!std::filesystem::is_directory(path, error)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a folder"));
  }
  const std::string probe = absl::StrCat(path, "/.writable-", getpid());
  if (absl::Status status = WriteFileAtOnce(probe, "x"); !status.ok()) return status;
  std::filesystem::remove(probe, error);
  return absl::OkStatus();
}

absl::Status WriteFileAtOnce(const std::string& path, const std::string& content) {
  // Said here, because the system's words for these are of another file or of none.
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (!folder.empty() && !std::filesystem::exists(folder, ignored)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot write ", path, ": the folder ", folder.string(),
                     " does not exist; make it or choose another"));
  }
  if (std::filesystem::is_directory(path, ignored)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot write ", path, ": it is a folder; name a file in it"));
  }
  const std::string temporary = absl::StrCat(path, ".new");
  std::FILE* file = std::fopen(temporary.c_str(), "we");
  if (file == nullptr) return Fault(absl::StrCat("cannot write ", path), errno);
  const bool written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  int error = written ? 0 : errno;
  if (std::fclose(file) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  std::remove(temporary.c_str());
  return Fault(absl::StrCat("cannot write ", path), error);
}

}  // namespace vecino
