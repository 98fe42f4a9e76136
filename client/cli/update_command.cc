// vecino update COLLECTION ID
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/json_values.h"
#include "client/cli/terminal.h"
#include "client/cli/time_values.h"

namespace vecino::cli {
namespace {

struct Arguments {
  std::string collection, id;
  std::optional<std::string> text, metadata, replace_metadata, ttl, expire_time;
  std::vector<std::string> unset;
  bool never_expire = false;
  std::string etag;
  bool create = false;
};

// A JSON object; otherwise false, and *error says what `option` must be.
bool ToObject(const std::string& option, const std::string& text, Json* json, std::string* error) {
  if (!ParseJson(text, json, error)) {
    *error = option + ": " + *error;
    return false;
  }
  if (!json->is_object()) {
    *error = option + " takes a JSON object, such as '{\"year\": 2024}'";
    return false;
  }
  return CheckNumbers(*json, "metadata", error);
}

// The document and the fields of it that change; returns what is wrong, or nothing.
std::string ToUpdate(const Arguments& arguments, Document* document,
                     std::vector<std::string>* fields) {
  std::string error;
  document->id = arguments.id;
  document->etag = arguments.etag;
  if (arguments.text.has_value()) {
    document->text = *arguments.text;
    fields->push_back("text");
  }
  Json metadata = Json::object();
  if (arguments.replace_metadata.has_value()) {
    if (!ToObject("--replace-metadata", *arguments.replace_metadata, &metadata, &error)) {
      return error;
    }
    fields->push_back("metadata");
  }
  if (arguments.metadata.has_value()) {
    if (!ToObject("--metadata", *arguments.metadata, &metadata, &error)) return error;
    for (const auto& [key, value] : metadata.items()) {
      if (key.empty() || key.find('.') != std::string::npos) {
        return "--metadata: a key that is empty or has a dot, '" + key +
               "', can only be written with --replace-metadata";
      }
      fields->push_back("metadata." + key);
    }
  }
  if (!metadata.empty()) document->metadata_json = OneLine(metadata);
  for (const std::string& field : arguments.unset) fields->push_back("metadata." + field);
  if (arguments.ttl.has_value()) {
    std::chrono::microseconds ttl{0};
    if (!ParseDuration(*arguments.ttl, &ttl, &error)) return "--ttl: " + error;
    document->ttl = ttl;
  }
  if (arguments.expire_time.has_value()) {
    std::chrono::system_clock::time_point time;
    if (!ParseTime(*arguments.expire_time, &time, &error)) return "--expire-time: " + error;
    document->expire_time = time;
  }
  if (document->ttl.has_value() || document->expire_time.has_value() || arguments.never_expire) {
    fields->push_back("expire_time");
  }
  if (fields->empty()) return "update needs something to change; vecino update --help lists what";
  return {};
}

int Run(Context& context, const Arguments& arguments) {
  Document document;
  std::vector<std::string> fields;
  if (const std::string error = ToUpdate(arguments, &document, &fields); !error.empty()) {
    return UsageError(error);
  }
  const auto result =
      context.client().Update(arguments.collection, document, fields, arguments.create);
  if (!result.ok()) {
    return context.Fail("update " + Printable(arguments.id) + " in " + arguments.collection,
                        result.status());
  }
  if (context.json) {
    std::cout << OneLine({{"id", arguments.id},
                          {"version", result->token.sequence_number},
                          {"etag", result->etag},
                          {"truncated", result->truncated}})
              << '\n';
  } else {
    std::cout << "updated " << Printable(arguments.id) << ", etag " << result->etag << '\n';
  }
  return 0;
}

}  // namespace

void AddUpdateCommand(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("update", "Change fields of a document; the others stay as they are");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("COLLECTION", arguments->collection)->required();
  command->add_option("ID", arguments->id, "Id of the document")->required();
  command->add_option("--text", arguments->text, "The new text; its vector is made anew");
  CLI::Option* replace = command->add_option("--replace-metadata", arguments->replace_metadata,
                                             "A JSON object that takes the place of all metadata");
  command
      ->add_option("--metadata", arguments->metadata,
                   "A JSON object whose fields are set; the other fields stay")
      ->excludes(replace);
  command
      ->add_option("--unset", arguments->unset,
                   "A field of the metadata to remove; dots lead into objects")
      ->excludes(replace);
  CLI::Option* ttl =
      command->add_option("--ttl", arguments->ttl, "Expires so long from now: 90s, 1h30m, 7d");
  CLI::Option* time = command->add_option("--expire-time", arguments->expire_time,
                                          "Expires then: 2027-01-31T12:00:00Z");
  ttl->excludes(time);
  command->add_flag("--never-expire", arguments->never_expire, "Takes the expire time away")
      ->excludes(ttl)
      ->excludes(time);
  command->add_option("--etag", arguments->etag, "Only if the document's etag is this one");
  command->add_flag("--create", arguments->create, "Make the document when there is none");
  command->callback([&context, arguments] {
    context.command = [&context, arguments] { return Run(context, *arguments); };
  });
}

}  // namespace vecino::cli
