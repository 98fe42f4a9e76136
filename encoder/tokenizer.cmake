# vecino_tokenizer: text to token ids; needs no model and no third party but absl and nlohmann-json.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(bert_unicode_inc ${CMAKE_CURRENT_BINARY_DIR}/generated/bert_unicode.inc)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/generated)
add_custom_command(
  OUTPUT ${bert_unicode_inc}
  COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/unicode/build_tables.py
          ${CMAKE_CURRENT_LIST_DIR}/unicode/bert_unicode.tsv ${bert_unicode_inc}
  DEPENDS ${CMAKE_CURRENT_LIST_DIR}/unicode/build_tables.py ${CMAKE_CURRENT_LIST_DIR}/unicode/bert_unicode.tsv
  COMMENT "Making the tokenizer's Unicode tables"
  VERBATIM)
add_library(vecino_tokenizer STATIC
  bert_words.cc tokenizer.cc tokenizer_file.cc unicode_tables.cc utf8.cc wordpiece_tokenizer.cc wordpiece_trie.cc
  ${bert_unicode_inc})
target_include_directories(vecino_tokenizer PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
target_link_libraries(vecino_tokenizer
  PUBLIC absl::statusor absl::function_ref
  PRIVATE vecino_warnings nlohmann_json::nlohmann_json absl::flat_hash_map absl::status absl::strings)
