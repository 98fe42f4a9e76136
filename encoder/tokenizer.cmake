# vecino_tokenizer: text to token ids, and the prompts before texts; needs no model and no third party but absl and
# nlohmann-json.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/generated)
set(unicode_incs)
foreach(table bert_unicode gpt2_unicode grapheme_unicode)
  set(unicode_inc ${CMAKE_CURRENT_BINARY_DIR}/generated/${table}.inc)
  add_custom_command(
    OUTPUT ${unicode_inc}
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/unicode/build_tables.py
            ${CMAKE_CURRENT_LIST_DIR}/unicode/${table}.tsv ${unicode_inc}
    DEPENDS ${CMAKE_CURRENT_LIST_DIR}/unicode/build_tables.py ${CMAKE_CURRENT_LIST_DIR}/unicode/${table}.tsv
    COMMENT "Making the tokenizer's Unicode tables: ${table}"
    VERBATIM)
  list(APPEND unicode_incs ${unicode_inc})
endforeach()
add_library(vecino_tokenizer STATIC
  bert_words.cc bpe_merges.cc byte_bpe.cc find_prompt.cc gpt2_words.cc grapheme_clusters.cc metaspace.cc precompiled_normalizer.cc
  tokenizer.cc tokenizer_file.cc unicode_tables.cc unigram.cc utf8.cc white_space.cc
  wordpiece_tokenizer.cc wordpiece_trie.cc ${unicode_incs})
target_include_directories(vecino_tokenizer PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
target_link_libraries(vecino_tokenizer
  PUBLIC absl::statusor absl::function_ref
  PRIVATE vecino_warnings nlohmann_json::nlohmann_json absl::flat_hash_map absl::status absl::str_format absl::strings)
