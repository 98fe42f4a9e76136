// vecino load COLLECTION FILE
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <iostream>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/interrupt.h"
#include "client/cli/loader.h"
#include "client/cli/record_reader.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

struct Arguments {
  LoadOptions load;
  std::string file;
  std::string faiss_file;  // the same as `file` with format faiss
  std::string format;      // empty: by the file's name
  std::string ids_file;
  CsvOptions csv;
  double retry_seconds = 60;
  bool quiet = false;
};

std::string FormatOf(const Arguments& arguments) {
  if (!arguments.format.empty()) return arguments.format;
  const auto ends = [&](std::string_view ending) { return arguments.file.ends_with(ending); };
  if (ends(".jsonl") || ends(".ndjson") || ends(".json")) return "jsonl";
  if (ends(".csv")) return "csv";
  if (ends(".npy")) return "npy";
  if (ends(".fvecs")) return "fvecs";
  if (ends(".faiss")) return "faiss";
  return arguments.file == "-" ? "jsonl" : "";
}

// What is loaded, and how far it was read, in bytes.
struct Source {
  std::unique_ptr<RecordReader> reader;
  int64_t size = -1;  // unknown
  std::function<int64_t()> position;
};

Result<std::unique_ptr<RecordReader>> MakeReader(const Arguments& arguments,
                                                 const std::string& format,
                                                 std::unique_ptr<Input> input) {
  if (format == "csv") return NewCsvReader(std::move(input), arguments.csv);
  if (format == "npy") return NewNpyReader(std::move(input), arguments.ids_file, &Interrupted());
  if (format == "fvecs") {
    return NewFvecsReader(std::move(input), arguments.ids_file, &Interrupted());
  }
  return NewJsonlReader(std::move(input));
}

// Errors name the file.
Result<Source> OpenSource(const Arguments& arguments, const std::string& format) {
  const auto named = [&](const std::string& what) {
    return Status(Code::kInvalidArgument, Printable(arguments.file) + ": " + what);
  };
  if (format == "faiss") {
    Result<FaissRecords> records =
        NewFaissReader(arguments.file, arguments.ids_file, &Interrupted());
    if (!records.ok()) return named(records.status().message());
    return Source{.reader = std::move(records->reader),
                  .size = records->bytes,
                  .position = std::move(records->position)};
  }
  Result<std::unique_ptr<Input>> opened = Input::Open(arguments.file, &Interrupted());
  if (!opened.ok()) return opened.status();
  Input* const input = opened->get();  // the reader owns it
  Source source = {.size = input->size(), .position = [input] { return input->offset(); }};
  Result<std::unique_ptr<RecordReader>> reader =
      MakeReader(arguments, format, std::move(opened).value());
  if (!reader.ok()) return named(reader.status().message());
  source.reader = std::move(reader).value();
  return source;
}

// Names this load by what it reads and how: another run of it goes on with it, and no other does.
// Empty for stdin, which nobody can read again.
std::string TokenOf(const Arguments& arguments, const std::string& format) {
  if (arguments.file == "-") return "";
  std::string what = format;
  for (const std::string& path : {arguments.file, arguments.ids_file}) {
    struct stat info {};
    what += '\0';
    if (path.empty() || stat(path.c_str(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode)) return "";
    what += std::to_string(info.st_dev) + ' ' + std::to_string(info.st_ino) + ' ' +
            std::to_string(info.st_size) + ' ' + std::to_string(info.st_mtim.tv_sec) + '.' +
            std::to_string(info.st_mtim.tv_nsec);
  }
  for (const std::string& column :
       {arguments.csv.id_column, arguments.csv.text_column, arguments.csv.vector_column}) {
    what += '\0' + column;
  }
  for (const std::string& column : arguments.csv.number_columns) what += '\0' + column;
  what += arguments.load.overwrite ? '\1' : arguments.load.insert_only ? '\3' : '\2';
  what += arguments.load.truncate == Truncate::kError ? '\1' : '\2';
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : what) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char text[32];
  std::snprintf(text, sizeof text, "load-%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// Whether another run of the same load ended this one.
bool TakenOver(const Status& status) {
  return status.code() == Code::kAborted &&
         status.message().find("another stream goes on") != std::string::npos;
}

void PrintReport(const Context& context, const Arguments& arguments, const LoadReport& report,
                 const char* unit, std::chrono::duration<double> elapsed) {
  const double seconds = elapsed.count();
  const auto rate = static_cast<int64_t>(static_cast<double>(report.loaded + report.skipped) /
                                         std::max(seconds, 1e-3));
  if (context.json) {
    std::cout << OneLine({{"collection", arguments.load.collection},
                          {"loaded", report.loaded},
                          {"skipped", report.skipped},
                          {"failed", report.failed},
                          {"truncated", report.truncated},
                          {"resumed", report.resumed},
                          {"last_line", report.last_line},
                          {"interrupted", report.interrupted},
                          {"seconds", seconds}})
              << '\n';
    return;
  }
  std::cout << Printable(arguments.load.collection) << ": loaded " << WithCommas(report.loaded);
  if (!arguments.load.overwrite && (!arguments.load.insert_only || report.skipped > 0)) {
    std::cout << ", skipped " << WithCommas(report.skipped) << " already stored";
  }
  std::cout << ", failed " << WithCommas(report.failed) << " in " << Duration(elapsed) << " ("
            << WithCommas(rate) << " docs/s)\n";
  if (report.resumed > 0) {
    std::cout << WithCommas(report.resumed)
              << " records before them were done by a run that was broken off.\n";
  }
  if (report.skipped > 0 && !arguments.load.insert_only)
    std::cout << "Stored ids are left alone; --overwrite writes them again.\n";
  if (report.truncated > 0) {
    std::cout
        << WithCommas(report.truncated)
        << " texts are longer than the model's window: their vectors stand for the beginning.\n";
  }
  if (report.interrupted || !report.status.ok()) {
    std::cout << "Dealt with everything up to " << unit << ' ' << WithCommas(report.last_line)
              << ". ";
    if (TakenOver(report.status)) {
      std::cout << "The other run goes on from there.\n";
      return;
    }
    std::cout << (arguments.load.resume_token.empty()
                      ? "Run it again to go on: what is stored is skipped.\n"
                      : "Run it again to go on where it was.\n");
  }
}

int Run(Context& context, Arguments& arguments) {
  if (!arguments.faiss_file.empty()) {
    if (!arguments.file.empty()) return UsageError("give FILE or --faiss FILE, not both");
    if (!arguments.format.empty() && arguments.format != "faiss") {
      return UsageError("--faiss and --format " + arguments.format + " do not go together");
    }
    arguments.file = arguments.faiss_file;
    arguments.format = "faiss";
  }
  if (arguments.file.empty()) return UsageError("load needs a FILE, - for stdin, or --faiss FILE");
  const std::string format = FormatOf(arguments);
  if (format.empty()) {
    return UsageError("cannot tell the format of " + Printable(arguments.file) +
                      " by its name; give --format jsonl, csv, npy, fvecs or faiss");
  }
  if (!arguments.ids_file.empty() && format != "npy" && format != "fvecs" && format != "faiss") {
    return UsageError("--ids is for npy, fvecs and FAISS files");
  }
  CatchInterrupt();  // Ctrl-C finishes what is in flight
  Result<Source> opened = OpenSource(arguments, format);
  if (!opened.ok()) return UsageError(opened.status().message());
  RecordReader& records = *opened->reader;

  Client& client = context.client(std::chrono::seconds(120));
  const Result<Collection> collection = client.GetCollection(arguments.load.collection);
  const std::string what = "load " + arguments.load.collection;
  if (!collection.ok()) return context.Fail(what, collection.status());
  if (records.dimension() != 0 && records.dimension() != collection->dimension) {
    return UsageError(Printable(arguments.file) + " has vectors of " +
                      std::to_string(records.dimension()) + " floats, and " +
                      Printable(arguments.load.collection) + " takes " +
                      std::to_string(collection->dimension));
  }

  if (arguments.load.resume_token.empty()) arguments.load.resume_token = TokenOf(arguments, format);
  arguments.load.retry_for =
      std::chrono::milliseconds(static_cast<int64_t>(arguments.retry_seconds * 1'000));
  const std::string source = arguments.file == "-" ? "stdin" : arguments.file;
  Progress progress(arguments.load.collection, opened->size, arguments.quiet);
  const auto start = std::chrono::steady_clock::now();
  const LoadReport report =
      Load(client, records, arguments.load, source, opened->position, Interrupted(), progress);
  PrintReport(context, arguments, report, records.unit(), std::chrono::steady_clock::now() - start);
  if (TakenOver(report.status)) {
    std::cerr << "vecino: " << Printable(what)
              << ": another run of this load took over (of the same "
              << "file and options, or the same --resume). Let it finish; running this one again "
                 "would end that one. To have two at once, give each a --resume NAME of its own.\n";
    return kServerSaidNo;
  }
  if (!report.status.ok()) return context.Fail(what, report.status);
  if (report.interrupted) return kInterrupted;
  return report.failed > 0 ? kServerSaidNo : 0;
}

}  // namespace

void AddLoadCommand(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "load", "Load documents from a JSONL, CSV, npy, fvecs or FAISS file, or stdin");
  const auto arguments = std::make_shared<Arguments>();
  LoadOptions& load = arguments->load;
  command->add_option("COLLECTION", load.collection)->required();
  command->add_option("FILE", arguments->file, "The file, or - for stdin");
  command->add_option("--faiss", arguments->faiss_file,
                      "In place of FILE: an index file of FAISS that holds full vectors");
  command
      ->add_option("--format", arguments->format,
                   "jsonl, csv, npy, fvecs or faiss (default: by the name)")
      ->check(CLI::IsMember({"jsonl", "csv", "npy", "fvecs", "faiss"}));
  command->add_flag("--overwrite", load.overwrite,
                    "Write also documents whose id is stored; default: skip them");
  command
      ->add_flag("--insert-only", load.insert_only,
                 "Refuse documents whose id is stored, in place of skipping them; told one by one")
      ->excludes("--overwrite");
  command
      ->add_option("--batch-size", load.batch_documents,
                   "Documents whose ids are looked up at once, unless --overwrite or --insert-only "
                   "is given (default 256)")
      ->check(CLI::Range(1, 1'000));
  command
      ->add_option("--resume", load.resume_token,
                   "Name of the load: a run with the same name and input goes on where the last "
                   "was broken off (default: by the file)")
      ->check(CLI::Validator(
          [](const std::string& token) {
            return token.empty() || token.size() > 128 ? "must have 1 to 128 bytes" : "";
          },
          "1 to 128 bytes"));
  command
      ->add_option("--retry-for", arguments->retry_seconds,
                   "Seconds to wait for a server that went away (default 60)")
      ->check(CLI::Range(0.0, 1e6).description("0 to 1000000"));
  command->add_flag("--fail-fast", load.fail_fast, "Stop at the first record that fails");
  command
      ->add_option("--max-errors", load.max_errors,
                   "Failed records told one by one (default 20); all are counted")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--quiet,-q", arguments->quiet, "No progress");
  command->add_option("--id-column", arguments->csv.id_column,
                      "CSV: column of the id (default id)");
  command->add_option("--text-column", arguments->csv.text_column,
                      "CSV: column of the text (default text)");
  command->add_option("--vector-column", arguments->csv.vector_column,
                      "CSV: column of the vector, a JSON array (default vector)");
  command
      ->add_option(
          "--number-columns", arguments->csv.number_columns,
          "CSV: columns kept as numbers in the metadata, comma-separated; others are strings")
      ->delimiter(',');
  command->add_option(
      "--ids", arguments->ids_file,
      "npy, fvecs, FAISS: file with one id a line (default: the row numbers, FAISS's ids)");
  AddTruncateOption(command, &load.truncate);
  command->callback([&context, arguments] {
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
