# Writes OUT, the source file that knows which commit of SOURCE is being built: asked at every build,
# but written only when the answer is another one, so that nothing else is built again.
#   cmake -DSOURCE=... -DOUT=... -DGIT=... -P ShoalCommit.cmake
set(commit "unknown")
if(GIT)
  # A tree without a repository of its own may lie inside of somebody else's.
  execute_process(COMMAND ${GIT} -C ${SOURCE} rev-parse --show-toplevel
                  OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  get_filename_component(source "${SOURCE}" REALPATH)
  if(top STREQUAL source)
    execute_process(COMMAND ${GIT} --no-optional-locks -C ${SOURCE} describe --always --dirty
                                   --exclude=* --abbrev=12
                    OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE
                    RESULT_VARIABLE failed ERROR_QUIET)
    if(NOT failed AND answer MATCHES "^[0-9a-f]+(-dirty)?$")
      set(commit "${answer}")
    endif()
  endif()
endif()
set(text "namespace shoal {\nextern const char* const kBuildCommit;\nconst char* const kBuildCommit = \"${commit}\";\n}  // namespace shoal\n")
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
